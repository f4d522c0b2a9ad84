"""`mmvssm demo`: what it prints at the end."""

from mmvssm.commands import demo


def test_table_has_boxes_and_masks_in_the_order_of_its_head():
    found = {f'{kind}_mAP{s}': v for kind, v in (('bbox', 0.5), ('segm', 0.25)) for s in ('', '_50', '_75', '_s', '_m')}
    found['bbox_mAP_s'] = 0.125
    found['segm_mAP_m'] = -1.0  # what COCO gives where no object has that size
    head, box, mask = demo.table(found).splitlines()
    assert head.split() == ['AP', 'AP50', 'AP75', 'AP', 'small', 'AP', 'medium']
    assert box.split() == ['box', '0.500', '0.500', '0.500', '0.125', '0.500']
    assert mask.split() == ['mask', '0.250', '0.250', '0.250', '0.250', '-']


def test_closing_names_what_is_there_and_what_comes_next():
    words = demo.closing('demo/x', 'demo', 'work_dirs/x', 'work_dirs/x/scan_paths.png')
    assert 'work_dirs/x/contact_sheet.png' in words
    assert 'mmvssm predict work_dirs/x data/nuclei/images/validation' in words
    assert 'work_dirs/x/scan_paths.png' in words
