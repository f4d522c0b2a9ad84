"""What is installed, what runs here and how fast, and what is wrong or slow, with a remedy each."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmvssm.doctor import Report

EXAMPLES = """examples:
  mmvssm doctor                # exit status 0 if a detector can be trained here
  mmvssm doctor --json > report.json      # for a bug report"""
MARKS = {'error': 'ERROR  ', 'warning': 'WARNING', 'note': 'note   '}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag."""
    parser.add_argument('--json', action='store_true', help='everything, for programs and bug reports')


def run(args: argparse.Namespace) -> None:
    """Examine and print; exit status 1 if the main job cannot run."""
    import json
    import sys

    from mmvssm import doctor

    report = doctor.examine()
    print(json.dumps(report.as_dict(), indent=1) if args.json else in_words(report))
    if not report.fit:
        sys.exit(1)


def in_words(report: 'Report') -> str:
    """The report as a page."""
    lines = ['packages']
    lines += [f'  {name:26}{version or "not installed"}' for name, version in report.versions.items()]
    lines += ['', 'machine']
    for name, value in report.machine.items():
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
        lines += [f'  {name:26}{value}'] if inner is None else [f'  {name}', *(f'    {k!s:24}{v}' for k, v in inner)]
    lines += ['', 'kernels (auto takes those with a *; times of a small problem)']
    for row in report.backends:
        took = '' if row['seconds'] is None else f', {1000 * row["seconds"]:.2f} ms'
        lines.append(f'  {row["operator"]:16}{"*" if row["auto"] else " "} {row["backend"]:12}{row["state"]}{took}')
    lines += ['', 'main job', *(f'  {name:26}{what}' for name, what in report.job.items()), '']
    for finding in report.findings:
        lines += [f'{MARKS[finding.level]} {finding.what}', f'        -> {finding.remedy}']
    fit = 'a detector can be trained here' if report.fit else 'a detector cannot be trained here: see the errors above'
    return '\n'.join([*lines, fit])
