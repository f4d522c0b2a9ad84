"""The whole examination."""

import dataclasses
import importlib.util
from dataclasses import dataclass
from typing import Any

import torch

from . import backends, machine, packages
from .finding import ERROR, Finding


@dataclass
class Report:
    """What was found.

    Attributes:
        versions: distribution -> version, '' where it is missing.
        machine: facts by name.
        backends: a row an operator and backend.
        job: the main job, step by step: what ran, or why not.
        findings: errors first.
    """

    versions: dict[str, str]
    machine: dict[str, Any]
    backends: list[dict[str, Any]]
    job: dict[str, str]
    findings: list[Finding]

    @property
    def fit(self) -> bool:
        """Whether the main job can run."""
        return all(finding.level != ERROR for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For programs and bug reports."""
        content = dataclasses.asdict(self)
        return {**content, 'findings': [finding._asdict() for finding in self.findings], 'fit': self.fit}


def examine() -> Report:
    """Looks at everything; takes some ten seconds."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    rows, wrong = backends.examine(device)
    job, failed = _main_job()
    found = [*packages.findings(), *failed, *wrong, *machine.findings()]
    order = ('error', 'warning', 'note')
    return Report(
        packages.versions(), machine.facts(), rows, job, sorted(found, key=lambda finding: order.index(finding.level))
    )


def _main_job() -> tuple[dict[str, str], list[Finding]]:
    """One training step of a small detector, where OpenMMLab is installed."""
    if importlib.util.find_spec('mmdet') is None:
        return {'detector': 'mmdet is not installed'}, []  # which is a finding of its own
    try:
        from mmvssm.openmmlab import health

        return health.examine()
    except Exception as error:
        what = f'OpenMMLab cannot be imported: {type(error).__name__}: {error}'.splitlines()[0]
        return {'detector': what}, [Finding(ERROR, what, packages.INSTALL_MM)]
