"""What is installed, what runs on this machine and how fast, and what is wrong or slow, with a remedy each."""

from .report import Report, examine

__all__ = ['Report', 'examine']
