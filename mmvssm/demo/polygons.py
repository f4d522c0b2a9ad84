"""Exact polygons of a bitmap, in COCO's convention.

COCO stores a mask as a union of simple polygons, which can hold neither a hole nor a self-contact. Run-length
encodings can, but mmdet drops those of ordinary objects under `poly2mask=False`. So a bitmap is traced along its
pixel edges, and wherever the outline is not simple the bitmap is cut in two. Rasterised again, the polygons give the
same pixels.
"""

import numpy as np

Vertex = tuple[int, int]


def polygons(mask: np.ndarray) -> list[list[int]]:
    """Simple polygons `[x0, y0, x1, y1, ...]` whose union is `mask` (H, W) bool; none for an empty mask."""
    found = []
    pieces: list = [(mask.astype(bool), 0)]
    while pieces:
        bitmap, x_offset = pieces.pop()
        loops = _outlines(bitmap)
        cut = _where_to_cut(loops)
        if cut is not None:
            pieces += [(bitmap[:, :cut], x_offset), (bitmap[:, cut:], x_offset + cut)]
            continue
        found += [[v for x, y in _corners(loop) for v in (x + x_offset, y)] for loop in loops]
    return sorted(found)


def _outlines(bitmap: np.ndarray) -> list[list[Vertex]]:
    """Closed walks along pixel edges, the set pixels on the right (outer outlines run clockwise)."""
    padded = np.pad(bitmap, 1).astype(np.int8)
    across = np.diff(padded, axis=0)[:, 1:-1]  # (H + 1, W) edges along x: +1 where a set pixel lies below
    along = np.diff(padded, axis=1)[1:-1]  # (H, W + 1) edges along y: +1 where a set pixel lies to the right
    leaving: dict[Vertex, list[Vertex]] = {}
    for y, x in np.argwhere(across):
        a, b = (int(x), int(y)), (int(x) + 1, int(y))
        start, end = (a, b) if across[y, x] > 0 else (b, a)
        leaving.setdefault(start, []).append(end)
    for y, x in np.argwhere(along):
        a, b = (int(x), int(y)), (int(x), int(y) + 1)
        start, end = (b, a) if along[y, x] > 0 else (a, b)
        leaving.setdefault(start, []).append(end)
    loops = []
    while leaving:
        loop = [next(iter(leaving))]
        while (step := _next(leaving, loop)) != loop[0]:
            loop.append(step)
        loops.append(loop)
    return loops


def _next(leaving: dict[Vertex, list[Vertex]], loop: list[Vertex]) -> Vertex:
    """Takes the edge that leaves the last vertex. Where two do, it turns right: corner contacts stay apart."""
    here = loop[-1]
    ends = leaving[here]
    if len(ends) == 2 and len(loop) > 1:
        dx, dy = here[0] - loop[-2][0], here[1] - loop[-2][1]
        right = (here[0] - dy, here[1] + dx)  # y points down
        step = right if right in ends else ends[0]
    else:
        step = ends[0]
    ends.remove(step)
    if not ends:
        del leaving[here]
    return step


def _where_to_cut(loops: list[list[Vertex]]) -> int | None:
    """The column at which a cut removes a hole or a self-contact, None if every outline is simple."""
    for loop in loops:
        xs = [x for x, _ in loop]
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(loop, loop[1:] + loop[:1]))
        if area < 0:  # anticlockwise: a hole
            return (min(xs) + max(xs) + 1) // 2
        if len(set(loop)) < len(loop):
            touched = next(v for i, v in enumerate(loop) if v in loop[:i])
            return touched[0]
    return None


def _corners(loop: list[Vertex]) -> list[Vertex]:
    """The vertices at which the direction changes."""
    before, after = loop[-1:] + loop[:-1], loop[1:] + loop[:1]
    return [v for p, v, n in zip(before, loop, after) if (v[0] - p[0], v[1] - p[1]) != (n[0] - v[0], n[1] - v[1])]
