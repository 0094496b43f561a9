"""Draws the images among the requests.

    .cache/venv-examples/bin/python examples/ocr/model/samples.py

Needs Pillow, whose own font they are set in: Aileron, which is in the public domain (CC0). Another
version of Pillow may draw other pixels, so the answers have to be recorded again after this.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

REQUESTS = Path(__file__).resolve().parents[1] / "requests"
INVOICE = (
    "Invoice 2026-1142",
    "Harbour Supplies Ltd.",
    "12 crates of oranges",
    "Total due: 1,250.00 EUR",
    "Payment within 30 days",
)
LEFT = (
    "The morning ferry was",
    "late, so the market",
    "opened without fish.",
)
RIGHT = (
    "Nobody minded much:",
    "there was bread, and",
    "the first cherries.",
)


def page(width, height, ground="white"):
    return Image.new("RGB", (width, height), ground)


def write(image, lines, left, top, size=32, step=56, ink="black"):
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((left, top + number * step), line, font=font, fill=ink)
    return image


def invoice():
    return write(page(560, 320), INVOICE, 36, 24)


def upside_down():
    """Two lines, the second of which stands on its head."""
    upper = write(page(560, 90), INVOICE[:1], 36, 24)
    lower = write(page(560, 90), INVOICE[3:4], 36, 24).rotate(180)
    image = page(560, 180)
    image.paste(upper, (0, 0))
    image.paste(lower, (0, 90))
    return image


def skewed():
    """As if photographed from below, with the page turned a little."""
    image = write(page(640, 360, "#f4efe2"), INVOICE[:4], 80, 70, ink="#20242c")
    bends = (1.08, 0.14, -60, -0.11, 1.04, 24, 0.00016, 0.00022)
    return image.transform(image.size, Image.Transform.PERSPECTIVE, bends, Image.Resampling.BICUBIC, fillcolor="#f4efe2")


def columns():
    return write(write(page(860, 220), LEFT, 30, 24), RIGHT, 470, 24)


def upwards():
    """A line that runs from the bottom to the top."""
    return write(page(420, 80), ["Handle with care"], 40, 20).rotate(90, expand=True)


def strip():
    """One long line in an image that is hardly higher."""
    text = "Parcels that arrive after noon are delivered on the next working day, without exception."
    return write(page(1300, 44, "#103050"), [text], 12, 4, size=30, ink="#ffe9a8")


def large():
    """More pixels than are looked at, and more lines than a batch."""
    prices = [f"Item {number:02}   {7 * number}.{number * 13 % 100:02} EUR" for number in range(1, 10)]
    return write(page(2600, 1800, "#fafafa"), prices, 200, 120, size=90, step=180, ink="#303030")


def tiny():
    return write(page(110, 22), ["Mind the gap"], 6, 2, size=15)


def label():
    """White on nothing."""
    image = Image.new("RGBA", (360, 80), (0, 0, 0, 0))
    ImageDraw.Draw(image).text((24, 18), "Made on the island", font=ImageFont.load_default(34), fill="white")
    return image


SAMPLES = {
    "invoice.png": invoice,
    "upside_down.png": upside_down,
    "skewed.png": skewed,
    "columns.png": columns,
    "upwards.png": upwards,
    "strip.png": strip,
    "large.png": large,
    "tiny.png": tiny,
    "label.png": label,
    "photo.jpg": skewed,
    "grey.png": lambda: write(page(420, 80, "#c8c8c8"), ["Second floor, left"], 30, 20).convert("L"),
    "blank.png": lambda: page(320, 240),
}


def main():
    for name, draw in SAMPLES.items():
        path = REQUESTS / name
        draw().save(path, **({"quality": 80} if path.suffix == ".jpg" else {"optimize": True}))
        print(f"{name:16} {path.stat().st_size:>8,} bytes")


if __name__ == "__main__":
    main()
