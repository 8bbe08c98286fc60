"""What a picture that goes out says of itself: that a model drew it.

One XMP packet (ISO 16684-1) in the PNG file holds two marks, each in its place:

- IPTC's DigitalSourceType, a word of http://cv.iptc.org/newscodes/digitalsourcetype/, which tools
  for photographs read. Article 50(2) of the EU's AI Act asks providers for a mark that machines can
  read; it prescribes none, and this is the usual one without a signature.
- AIGC, the implicit label of China's GB 45438-2025. Its seven fields are those of the standard's
  appendix E, its namespace that of the practice guide TC260-PG-20258A. Neither text was at hand:
  the names are as public programs that write and read such labels have them.
"""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import escape

from PIL import Image
from PIL.PngImagePlugin import PngInfo

XMP_KEY = "XML:com.adobe.xmp"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
# Of the signs that the standard takes, which have no blank among them.
PRODUCER = "diffusers-notes"
# "1": a model made it; "2" and "3" are for those who only think so.
MADE = "1"

# The first sign is U+FEFF: it says how the packet is encoded.
_PACKET = """\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/">
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
   <TC260:AIGC>{aigc}</TC260:AIGC>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


class Origin(StrEnum):
    """How a model had part in a picture, in the words of IPTC's list.

    Attributes:
        DRAWN: a model drew it from nothing.
        REDRAWN: a model changed a picture that was given.
        BESIDE: what a model drew, beside other pictures.
    """

    DRAWN = "trainedAlgorithmicMedia"
    REDRAWN = "compositeWithTrainedAlgorithmicMedia"
    BESIDE = "compositeSynthetic"


def labelled(
    picture: Image.Image, origin: Origin = Origin.DRAWN, note: PngInfo | None = None
) -> PngInfo:
    """The label, among the texts of a PNG file.

    The same picture always gets the same label: no date, and nothing of this machine. Who offers
    pictures to others as a service writes their own name and number over ours.

    Args:
        picture: as it will be saved; the label's number comes from its pixels.
        origin: how a model had part in it.
        note: other texts of the file, to which the label is added.

    Returns:
        The texts, what Pillow's writer of PNG takes as `pnginfo`.
    """
    note = PngInfo() if note is None else note
    about = f"{picture.mode} {picture.width}x{picture.height}\n".encode()
    aigc = {
        "Label": MADE,
        "ContentProducer": PRODUCER,
        "ProduceID": hashlib.sha256(about + picture.tobytes()).hexdigest()[:32],
        "ReservedCode1": "",
        "ContentPropagator": "",  # who passes it on fills in the last three
        "PropagateID": "",
        "ReservedCode2": "",
    }
    text = json.dumps(aigc, separators=(",", ":"))
    packet = _PACKET.format(source=escape(SOURCE_TYPES + origin), aigc=escape(text))
    note.add_itxt(XMP_KEY, packet)
    return note


def save_labelled(
    picture: Image.Image, file: Path | IO[bytes], origin: Origin = Origin.DRAWN, **options: Any
) -> None:
    """Save a picture as PNG, with the label.

    Args:
        picture: of a mode that PNG holds.
        file: where to; an open file is written to where it stands.
        origin: how a model had part in it.
        **options: of Pillow's writer of PNG.
    """
    picture.save(file, "PNG", pnginfo=labelled(picture, origin), **options)
