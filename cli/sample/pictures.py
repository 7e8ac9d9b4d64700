"""Small pictures for invented products."""

import io
import random

SIDE_PIXELS = 32


def jpeg(rng: random.Random) -> bytes:
    """A small valid JPEG: a coloured shape on a coloured ground, drawn from `rng`."""
    from PIL import Image, ImageDraw

    ground, shape = (tuple(rng.choices(range(256), k=3)) for _ in range(2))
    picture = Image.new("RGB", (SIDE_PIXELS, SIDE_PIXELS), ground)
    left, top = rng.randrange(2, 12), rng.randrange(2, 12)
    corners = (left, top, left + rng.randrange(6, 18), top + rng.randrange(6, 18))
    draw = ImageDraw.Draw(picture)
    (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(corners, fill=shape)
    written = io.BytesIO()
    picture.save(written, format="JPEG", quality=80)
    return written.getvalue()
