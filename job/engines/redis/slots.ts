/** CRC-16 (XMODEM), with which a cluster finds the slot of a key. */
const table = new Uint16Array(256)
for (let i = 0; i < 256; i++) {
  let crc = i << 8
  for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1
  table[i] = crc
}

/** Of a key with `{tag}` the tag alone decides, so that such keys lie together. */
export function slotOf(key: Buffer): number {
  const open = key.indexOf(123)
  const close = open < 0 ? -1 : key.indexOf(125, open + 1)
  const tagged = close > open + 1
  let crc = 0
  for (let i = tagged ? open + 1 : 0; i < (tagged ? close : key.length); i++)
    crc = ((crc << 8) & 0xffff) ^ (table[(crc >> 8) ^ (key[i] as number)] as number)
  return crc & 16_383
}
