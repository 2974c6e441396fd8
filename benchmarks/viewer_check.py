"""The viewer's panel in a real browser: `python -m benchmarks.viewer_check --load-config RUN/config.yml`.

Starts `ns-viewer` on the run, opens it in a headless Chromium, and uses the panel as a person would: an
identity by number, a direction, a sample, a morph, another background, another output. Each must change the
picture, and neither the page nor the log may show an error. Needs the extra `browser` (playwright) and a
Chromium: the system's, or one that `playwright install chromium` fetched.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from jaxtyping import Float
from PIL import Image

Picture = Float[np.ndarray, "height width 3"]

SOFTWARE_RENDERING = (
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
LEAST_CHANGE = 0.5
"""Two pictures count as different from this mean difference on, of 255 levels."""
HEADER, PANEL = 52, 322
"""Pixels of the page around the picture: rows at its top, columns at its right."""


@dataclass
class ViewerCheck:
    """Use the viewer's panel in a browser and see that each control does something."""

    load_config: Path
    """The config.yml of a trained run."""
    output_dir: Path | None = None
    """Where a screenshot after each step goes; if not set, none is kept."""
    max_res: int = 164
    """Longer side of the viewer's pictures in pixels: 64 and a multiple of 100."""
    timeout: float = 120.0
    """Seconds to wait for the viewer to start, and for a picture to change."""

    def run(self) -> None:
        """Check, print each step, and end with status 1 where something is wrong."""
        from playwright.sync_api import sync_playwright

        with running_viewer(self.load_config, self.timeout) as (url, log), sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
                args=SOFTWARE_RENDERING,
            )
            page = browser.new_page(viewport={"width": 900, "height": 600})
            errors: list[str] = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(url, wait_until="domcontentloaded")
            wrong = self._use(page)
            browser.close()
            errors += [
                line for line in log.read_text().splitlines() if "Error" in line or "Traceback" in line
            ]
        if wrong or errors:
            raise SystemExit("\n".join([*wrong, *errors]))

    def _use(self, page: Any) -> list[str]:
        page.get_by_text("Identity", exact=True).wait_for(timeout=1000 * self.timeout)
        type_into(page, "Max res", self.max_res)
        shown, wrong = self._settled(page, None), []
        self._keep(page, "open")

        def step(name: str, *actions: Callable[[], None]) -> None:
            nonlocal shown
            for action in actions:
                action()
            before, shown = shown, self._settled(page, shown)
            change = difference(before, shown)
            print(f"{name:24} changes the picture by {change:6.2f} of 255")
            if change < LEAST_CHANGE:
                wrong.append(f"{name}: the picture did not change")
            self._keep(page, name)

        step("identity", lambda: type_into(page, "Number", 2))
        step(
            "direction",
            lambda: page.get_by_text("Directions", exact=True).click(),
            lambda: type_into(page, "Direction 1", 3.0),
        )
        step("sample", lambda: choose(page, "Shown", "sample"), lambda: type_into(page, "Seed", 7))
        step(
            "morph",
            lambda: page.get_by_role("button", name="Set as B").click(),
            lambda: choose(page, "Shown", "morph"),
            lambda: type_into(page, "A to B", 0.2),
        )
        step("along the morph", lambda: type_into(page, "A to B", 0.9))
        step("background", lambda: choose(page, "Background", "color"))
        step("depth", lambda: choose(page, "Output type", "depth"))
        step("reset", lambda: page.get_by_role("button", name="Reset", exact=True).click())
        if page.get_by_text("That did not work").count():
            wrong.append("the panel says that something did not work")
        return wrong

    def _settled(self, page: Any, before: Picture | None) -> Picture:
        """Wait for a picture of full resolution that is stable and not `before`; return the last one."""
        deadline, last = time.monotonic() + self.timeout, picture(page)
        while time.monotonic() < deadline:
            time.sleep(0.5)
            now, full = picture(page), resolution(page) >= self.max_res - 2
            stands = difference(last, now) == 0.0
            if full and stands and (before is None or difference(before, now) >= LEAST_CHANGE):
                break
            last = now
        return last

    def _keep(self, page: Any, name: str) -> None:
        if self.output_dir is not None:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=self.output_dir / f"{name.replace(' ', '_')}.png")


@contextmanager
def running_viewer(load_config: Path, timeout: float) -> Iterator[tuple[str, Path]]:
    """Run the block with `ns-viewer` on a free port, and yield its address and its log.

    Raises:
        SystemExit: it does not start.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.txt"
        command = [str(Path(sys.executable).with_name("ns-viewer")), "--load-config", str(load_config)]
        with log.open("w") as output:
            viewer = subprocess.Popen(
                [*command, "--viewer.websocket-port", str(port)],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + timeout
            while not answers(url):
                if viewer.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"ns-viewer does not start:\n{log.read_text()}")
                time.sleep(1.0)
            yield url, log
        finally:
            os.killpg(viewer.pid, signal.SIGTERM)
            viewer.wait()


def answers(url: str) -> bool:
    """Return whether a server answers."""
    try:
        with urllib.request.urlopen(url, timeout=5.0):
            return True
    except OSError:
        return False


def field_of(page: Any, label: str) -> Any:
    """Return the field beside a label of the panel."""
    text = page.get_by_text(label, exact=True).first
    return text.locator("xpath=ancestor::*[.//input][1]").locator("input").last


def type_into(page: Any, label: str, value: float) -> None:
    """Put a number into a field, or beside a slider."""
    field_of(page, label).fill(str(value))
    field_of(page, label).press("Enter")


def choose(page: Any, label: str, option: str) -> None:
    """Choose from a list."""
    page.get_by_text(label, exact=True).first.locator("xpath=ancestor::*[.//input][1]").locator(
        "input:visible"
    ).first.click()
    page.get_by_role("option", name=option, exact=True).click()


def picture(page: Any) -> Picture:
    """Return what the viewer shows, 0–255."""
    size = page.viewport_size
    clip = {"x": 0, "y": HEADER, "width": size["width"] - PANEL, "height": size["height"] - HEADER}
    shot = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    return np.asarray(shot.resize((160, 140), Image.Resampling.BOX), dtype=np.float32)


def resolution(page: Any) -> int:
    """Return the longer side of the viewer's picture in pixels, as the viewer says."""
    text = page.get_by_text("Resolution:").inner_text()
    return max(int(side) for side in text.split("Resolution:")[1].strip().removesuffix("px").split("x"))


def difference(first: Picture, second: Picture) -> float:
    """Compute the mean absolute difference, of 255 levels."""
    return float(np.abs(first - second).mean())


if __name__ == "__main__":
    tyro.cli(ViewerCheck).run()
