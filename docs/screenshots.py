"""Takes the README's pictures of the console, of a real run of invented data: `make screenshots`.

It starts a stack of its own, has it go through the story of the browser tests, and leaves nothing
behind but `docs/console-*.png`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.migrate import migrate
from infra.embedded.services import SERVICES
from infra.embedded.stack import Stack
from tests.browser import story

HERE = Path(__file__).parent
WIDTH, HEIGHT = 1280, 860
COLOURS = 128
"""A picture of texts and areas needs no more, and is a third of the size."""
PICTURES = {
    "console-datasets": ("/", "light", ""),
    "console-slice": (f"/datasets/streamflow/slices/{story.REJECTED}", "light", ""),
    "console-models": ("/datasets/streamflow/models", "dark", "#pair"),
}
"""Each with its page, its colours, and the element that is taken, or the first screen."""


def main() -> None:
    """Take them all."""
    with TemporaryDirectory(prefix="headrace-screenshots-") as folder:
        root = Path(folder)
        story.write_specs(root / "specs")
        story.write_drops(root / "drops")
        given = {"DATASETS_DIR": str(root / "specs")}
        stack = Stack(root / ".headrace", given=given, inherited=dict(os.environ))
        try:
            stack.start(SERVICES, migrate=migrate, report=lambda name, _: print(name, flush=True))
            for arguments in story.loads(root / "drops"):
                load(stack.root, arguments)
            (console,) = [each.address for each in stack.status() if each.name == "console"]
            take(console)
        finally:
            stack.stop()


def load(root: Path, arguments: tuple[str, ...]) -> None:
    """`headrace load`, also of what is refused."""
    command = [sys.executable, "-c", "from cli.main import main; main()", "load", *arguments]
    print("load", *arguments, flush=True)
    subprocess.run([*command, "--wait", "--root", str(root)], check=False)


def take(console: str) -> None:
    """The pictures of the console at this address."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        for name, (address, scheme, part) in PICTURES.items():
            page = browser.new_page(
                viewport={"width": WIDTH, "height": HEIGHT},
                color_scheme=scheme,
                reduced_motion="reduce",
            )
            page.goto(console + address)
            page.wait_for_selector("#live-state[data-state=live]")
            target = HERE / f"{name}.png"
            if part:
                page.locator(part).screenshot(path=target)
            else:
                page.screenshot(path=target)
            picture = Image.open(target).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
            picture.save(target, optimize=True)
            print(target, target.stat().st_size, "bytes")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
