"""The code blocks of README and docs run; those that cannot (a download, minutes) say why and name real commands."""

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mmvssm.commands import COMMANDS, main, parser

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path for path in [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md'))]
}
BLOCK = re.compile(r'(<!-- not run: [^>]+ -->\n)?^```(python|sh)\n(.*?)^```', re.M | re.S)


def blocks(page: str, language: str) -> list[tuple[bool, str]]:
    """(whether it is run, its text)."""
    found = BLOCK.findall(PAGES[page].read_text(encoding='utf-8'))
    return [(not reason, text) for reason, kind, text in found if kind == language]


def commands(text: str) -> list[list[str]]:
    """The lines that call mmvssm, as words."""
    lines = text.replace('\\\n', ' ').splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith('mmvssm ')]


WITH_PYTHON = [page for page in PAGES if blocks(page, 'python')]
WITH_SHELL = [page for page in PAGES if blocks(page, 'sh')]


@pytest.mark.parametrize('page', WITH_PYTHON)
def test_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, 'kernels', None)  # transformers asks for a package of that name, not our folder
    names: dict = {}
    for runs, text in blocks(page, 'python'):
        ast.parse(text)
        if runs:
            exec(compile(text, page, 'exec'), names)


@pytest.mark.parametrize('page', WITH_SHELL)
def test_commands_of_a_page_run_or_are_known(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for runs, text in blocks(page, 'sh'):
        for words in commands(text):
            assert words[0] in COMMANDS, words
            if runs and '--help' not in words:
                main(words)
            elif '--help' not in words:
                parser(words[0]).parse_args(words[1:])


def test_the_site_builds_without_a_warning(tmp_path):
    command = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--quiet', '-d', str(tmp_path / 'site')]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'draw_layers' in (tmp_path / 'site/reference/index.html').read_text()
