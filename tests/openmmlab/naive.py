"""The operators of mmcv.ops, written out as loops or as differentiable PyTorch that shares nothing with the
stand-ins.
"""

import math

import torch


def nms(boxes, scores, threshold, offset):
    """Indices kept, best first."""
    left = scores.argsort(descending=True).tolist()
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        left = [i for i in left if iou(boxes[best].tolist(), boxes[i].tolist(), offset) <= threshold]
    return kept


def soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    """Pairs (index, score when taken), in the order taken."""
    boxes, left = boxes.tolist(), dict(enumerate(scores.tolist()))
    kept = []
    while left:
        best = max(left, key=left.get)
        kept.append((best, left.pop(best)))
        for i in list(left):
            overlap = iou(boxes[best], boxes[i], offset)
            left[i] *= {
                'naive': float(overlap < threshold),
                'linear': 1 - overlap if overlap >= threshold else 1.0,
                'gaussian': math.exp(-(overlap**2) / sigma),
            }[method]
            if left[i] < min_score:
                del left[i]
    return kept


def iou(a, b, offset):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
    area = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
    return width * height / (sum(area) - width * height)


def roi_align(feature, rois, size, scale, ratio, mode, aligned):
    """feature (B, C, H, W), rois (R, 5) -> (R, C, *size); differentiable in feature."""
    out = []
    for image, *corners in rois.tolist():
        x1, y1, x2, y2 = (c * scale - (0.5 if aligned else 0) for c in corners)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1), max(height, 1)
        rows = ratio or math.ceil(height / size[0])
        columns = ratio or math.ceil(width / size[1])
        for i in range(size[0]):
            for j in range(size[1]):
                samples = [
                    clamped_sample(
                        feature[int(image)],
                        y1 + (i + (r + 0.5) / rows) * height / size[0],
                        x1 + (j + (c + 0.5) / columns) * width / size[1],
                    )
                    for r in range(rows)
                    for c in range(columns)
                ]
                stack = torch.stack(samples)
                out.append(stack.mean(0) if mode == 'avg' else stack.max(0).values)
    return torch.stack(out).view(len(rois), *size, feature.shape[1]).permute(0, 3, 1, 2)


def clamped_sample(feature, y, x):
    """Bilinear sample (C,) of (C, H, W): clamped to the map within one pixel of it, zero beyond."""
    height, width = feature.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return feature[:, 0, 0] * 0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = min(int(y), max(height - 2, 0)), min(int(x), max(width - 2, 0))
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = feature[:, top, left] * (1 - dx) + feature[:, top, right] * dx
    lower = feature[:, bottom, left] * (1 - dx) + feature[:, bottom, right] * dx
    return upper * (1 - dy) + lower * dy


def roi_pool(feature, rois, size, scale):
    """mmcv's bins: the far corner one pixel on, edges rounded outwards after division."""
    height, width = feature.shape[2:]
    out = []
    for image, x1, y1, x2, y2 in rois.tolist():
        left, top, right, bottom = x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale
        for i in range(size[0]):
            for j in range(size[1]):
                y = [top + (i + k) * (bottom - top) / size[0] for k in (0, 1)]
                x = [left + (j + k) * (right - left) / size[1] for k in (0, 1)]
                rows = range(max(math.floor(y[0]), 0), min(math.ceil(y[1]), height))
                columns = range(max(math.floor(x[0]), 0), min(math.ceil(x[1]), width))
                if rows and columns and right > left and bottom > top:
                    part = feature[int(image)][:, rows.start : rows.stop, columns.start : columns.stop]
                    out.append(part.flatten(1).max(1).values)
                else:
                    out.append(feature.new_zeros(feature.shape[1]))
    return torch.stack(out).view(len(rois), *size, feature.shape[1]).permute(0, 3, 1, 2)


def sigmoid_focal_loss(logits, target, gamma, alpha, weight=None):
    loss = torch.zeros_like(logits)
    p = logits.sigmoid()
    rows = []
    for n, t in enumerate(target.tolist()):
        row = []
        for c in range(logits.shape[1]):
            if c == t:
                value = -alpha * (1 - p[n, c]) ** gamma * p[n, c].log()
            else:
                value = -(1 - alpha) * p[n, c] ** gamma * (1 - p[n, c]).log()
            row.append(value if weight is None or not 0 <= t < len(weight) else value * weight[t])
        rows.append(torch.stack(row))
    return torch.stack(rows) if rows else loss


def softmax_focal_loss(logits, target, gamma, alpha, weight=None):
    p = logits.softmax(1)
    rows = []
    for n, t in enumerate(target.tolist()):
        if t < 0:
            rows.append(p[n, 0] * 0)
        else:
            value = -alpha * (1 - p[n, t]) ** gamma * p[n, t].log()
            rows.append(value if weight is None else value * weight[t])
    return torch.stack(rows)


def deform_conv2d(x, offset, weight, mask, bias, stride, padding, dilation, groups, deform_groups):
    """One kernel tap after another; differentiable in every tensor."""
    batch, channels = x.shape[:2]
    out_channels, _, kh, kw = weight.shape
    height, width = offset.shape[2:]
    offset = offset.view(batch, deform_groups, kh * kw, 2, height, width)
    y0 = (torch.arange(height) * stride[0] - padding[0])[:, None].to(x)
    x0 = (torch.arange(width) * stride[1] - padding[1])[None].to(x)
    taps = []
    for k in range(kh * kw):
        parts = []
        for g, part in enumerate(x.chunk(deform_groups, dim=1)):
            ys = y0 + (k // kw) * dilation[0] + offset[:, g, k, 0]
            xs = x0 + (k % kw) * dilation[1] + offset[:, g, k, 1]
            sample = zero_padded_sample(part, ys.flatten(1), xs.flatten(1)).unflatten(2, (height, width))
            if mask is not None:
                sample = sample * mask.view(batch, deform_groups, kh * kw, height, width)[:, g, k, None]
            parts.append(sample)
        taps.append(torch.cat(parts, dim=1))
    columns = torch.stack(taps, dim=2).view(batch, groups, channels // groups, kh * kw, height, width)
    kernel = weight.view(groups, out_channels // groups, channels // groups, kh * kw)
    out = torch.einsum('bgckhw,gock->bgohw', columns, kernel).flatten(1, 2)
    return out if bias is None else out + bias[None, :, None, None]


def zero_padded_sample(x, ys, xs):
    """Bilinear samples (B, C, P) of (B, C, H, W) at ys, xs (B, P); pixels outside the map are zero."""
    height, width = x.shape[2:]
    total = 0
    for dy in (0, 1):
        for dx in (0, 1):
            row, column = ys.detach().floor() + dy, xs.detach().floor() + dx
            share = (1 - (ys - row).abs()) * (1 - (xs - column).abs())
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            pixels = x.flatten(2).gather(2, place[:, None].expand(-1, x.shape[1], -1))
            total = total + pixels * (share * inside)[:, None]
    return total


def ms_deform_attn(value, shapes, locations, weights):
    """Loop over heads, levels and points; differentiable in value, locations and weights."""
    batch, _, heads, channels = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    out = value.new_zeros(batch, heads, channels, queries)
    for m in range(heads):
        start = 0
        for level, (height, width) in enumerate(shapes.tolist()):
            tokens = value[:, start : start + height * width, m]
            maps = tokens.transpose(1, 2).unflatten(2, (height, width))
            start += height * width
            for p in range(points):
                xs, ys = (locations[:, :, m, level, p] * value.new_tensor([width, height]) - 0.5).unbind(-1)
                sample = zero_padded_sample(maps, ys, xs) * weights[:, None, :, m, level, p]
                out = out + torch.nn.functional.pad(sample[:, None], (0, 0, 0, 0, m, heads - 1 - m))
    return out.flatten(1, 2).transpose(1, 2)
