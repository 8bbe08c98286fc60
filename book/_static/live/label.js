// What a saved picture says of itself: that a model drew it. The same label as src/companion/door/labels.py writes.
"use strict";

const SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/";

/**
 * @param {string} origin of IPTC's list
 * @param {string} number made of the picture's pixels
 */
function packet(origin, number) {
  const aigc = JSON.stringify({
    Label: "1",
    ContentProducer: "diffusers-notes",
    ProduceID: number,
    ReservedCode1: "",
    ContentPropagator: "",
    PropagateID: "",
    ReservedCode2: "",
  });
  return `<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/">
   <Iptc4xmpExt:DigitalSourceType>${SOURCE_TYPES}${origin}</Iptc4xmpExt:DigitalSourceType>
   <TC260:AIGC>${aigc}</TC260:AIGC>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>`;
}

/**
 * The number of a picture: of its size and its red, green and blue. Browsers count only on addresses
 * that they trust; elsewhere it is left out.
 * @param {ImageData} picture
 */
async function numberOf({ data, width, height }) {
  if (!window.crypto?.subtle) return "";
  const about = new TextEncoder().encode(`RGB ${width}x${height}\n`);
  const bytes = new Uint8Array(about.length + width * height * 3);
  bytes.set(about);
  for (let i = 0, to = about.length; i < data.length; i++) if (i % 4 < 3) bytes[to++] = data[i];
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest.subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * A chunk of a PNG file: its length, its name, what it holds, and a checksum.
 * @param {string} text
 */
function chunkOfText(text) {
  // Key, not compressed, no language, no translated key.
  const content = new TextEncoder().encode(`iTXtXML:com.adobe.xmp\0\0\0\0\0${text}`);
  let crc = -1;
  for (const byte of content) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  const chunk = new Uint8Array(content.length + 8);
  const numbers = new DataView(chunk.buffer);
  numbers.setUint32(0, content.length - 4);
  chunk.set(content, 4);
  numbers.setUint32(content.length + 4, ~crc >>> 0);
  return chunk;
}

/**
 * A canvas as a PNG file that carries the label.
 * @param {HTMLCanvasElement} canvas
 * @param {string} origin
 * @returns {Promise<Blob>}
 */
async function labelledPng(canvas, origin) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const number = await numberOf(context.getImageData(0, 0, canvas.width, canvas.height));
  /** @type {Blob | null} */
  const png = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!png) throw new Error("The browser could not save the picture.");
  const BEGINNING = 33; // a file's signature and its first chunk, which the label follows
  return new Blob(
    [png.slice(0, BEGINNING), chunkOfText(packet(origin, number)), png.slice(BEGINNING)],
    {
      type: "image/png",
    },
  );
}
