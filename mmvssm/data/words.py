"""Reports in words: a page, and a line."""

from .check import Report

SHOWN = 20  # classes in the table


def in_words(report: Report) -> str:
    """The report as a page."""
    lines = [
        f'{report.root}: {report.layout}, ' + ', '.join(f'{n} images of {name}' for name, n in report.images.items())
    ]
    sizes = report.sizes.most_common(3)
    if sizes:
        more = f' and {len(report.sizes) - 3} more sizes' if len(report.sizes) > 3 else ''
        lines.append('sizes: ' + ', '.join(f'{n} of {w} x {h}' for (w, h), n in sizes) + more)
    counted = 'objects' if report.layout == 'COCO' else 'images'
    lines += ['', f'{"class":30}{counted:>10}']
    lines += [f'{name:30}{count:10}' for name, count in report.classes.most_common(SHOWN)]
    if len(report.classes) > SHOWN:
        lines.append(f'and {len(report.classes) - SHOWN} more classes')
    lines.append('')
    for kind, (number, example) in sorted(report.odd.items(), key=lambda item: item[0] not in report.fatal):
        lines.append(f'{"STOPS TRAINING: " if kind in report.fatal else ""}{number} x {kind}, first: {example}')
    return '\n'.join([*lines, '' if report.odd else 'nothing odd']).rstrip()


def in_short(report: Report) -> str:
    """The report of one split as a line: '48 images (256 x 256), 1262 objects of 1 class (nucleus 1262)'."""
    images = sum(report.images.values())
    size = ''
    if report.sizes:
        (width, height), _ = report.sizes.most_common(1)[0]
        size = f' ({width} x {height}{" and others" if len(report.sizes) > 1 else ""})'
    if report.layout == 'none':
        return f'{images} images{size}'
    number, some = len(report.classes), report.classes.most_common(3)
    names = ', '.join(f'{name} {count}' for name, count in some) + (', ...' if number > 3 else '')
    what = f'{sum(report.classes.values())} objects of ' if report.layout == 'COCO' else ''
    odd = ''.join(f'; {count} x {kind} ({first})' for kind, (count, first) in list(report.odd.items())[:3])
    return f'{images} images{size}, {what}{number} class{"" if number == 1 else "es"} ({names}){odd}'
