"""The harness sees what it is to see: a gateway at rest is small and quick, and one that stands still is noticed."""

from __future__ import annotations

import os
import signal
import time

import pytest
from support.gateway import Gateway
from support.vitals import watch_vitals


def test_a_gateway_at_rest_is_small_and_quick(attacked: Gateway) -> None:
    with watch_vitals(attacked.process.popen.pid, attacked.root) as vitals:
        time.sleep(0.5)
    assert len(vitals.health) > 3


def test_a_gateway_that_stands_still_is_noticed(attacked: Gateway) -> None:
    pid = attacked.process.popen.pid
    with pytest.raises(AssertionError, match="/health took"), watch_vitals(pid, attacked.root):  # noqa: PT012
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.3)
