"""Pictures, without any OpenMMLab: one file a kind. Images are PIL's or arrays, figures matplotlib's."""

from importlib import import_module
from typing import TYPE_CHECKING

from .contact_sheet import Colours, Instances, beside, paint_instances, paint_labels, palette, sheet
from .predictions import paint_classes, paint_found

if TYPE_CHECKING:
    from .curves import draw_curves, read_run
    from .directions import draw_choices, draw_paths, figure_of_lists
    from .erf import draw_receptive_fields, receptive_field
    from .features import draw_directions, draw_features, draw_response, response, scan_outputs
    from .figure import save
    from .scan_paths import draw_layers, draw_orders

# what needs matplotlib, which a plain installation lacks
_FIGURES = {
    'draw_choices': 'directions',
    'draw_curves': 'curves',
    'draw_directions': 'features',
    'draw_features': 'features',
    'draw_layers': 'scan_paths',
    'draw_orders': 'scan_paths',
    'draw_paths': 'directions',
    'draw_receptive_fields': 'erf',
    'draw_response': 'features',
    'figure_of_lists': 'directions',
    'read_run': 'curves',
    'receptive_field': 'erf',
    'response': 'features',
    'save': 'figure',
    'scan_outputs': 'features',
}

__all__ = [
    'Colours',
    'Instances',
    'beside',
    'draw_choices',
    'draw_curves',
    'draw_directions',
    'draw_features',
    'draw_layers',
    'draw_orders',
    'draw_paths',
    'draw_receptive_fields',
    'draw_response',
    'figure_of_lists',
    'paint_classes',
    'paint_found',
    'paint_instances',
    'paint_labels',
    'palette',
    'read_run',
    'receptive_field',
    'response',
    'save',
    'scan_outputs',
    'sheet',
]


def __getattr__(name: str) -> object:
    if name not in _FIGURES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_FIGURES[name]}'), name)
