"""The allocator's habits."""

import platform
import sys

import pytest

from nerfgen_ns.utils.machine import keep_freed_memory


def test_glibc_is_told_to_keep_freed_memory():
    if not (sys.platform == "linux" and platform.libc_ver()[0] == "glibc"):
        pytest.skip("another C library")
    assert keep_freed_memory()


def test_another_platform_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
