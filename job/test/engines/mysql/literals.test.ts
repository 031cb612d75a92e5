import { describe, expect, test } from 'vitest'
import { input, literals, output } from '../../../engines/mysql/literals.ts'

describe.each(['fastest', 'byByte'] as const)('%s', (which) => {
  const { memory, escaped, hex } = literals(which)
  const made = (end: number) => Buffer.from(memory.subarray(output, end)).toString('latin1')

  /** Lengths around the sixteen bytes that are looked at together, at every distance to them. */
  const lengths = Array.from({ length: 70 }, (_, i) => i)

  test.each([0x00, 0x0a, 0x0d, 0x1a, 0x22, 0x27, 0x5c, 0x5b, 0x60, 0x80, 0xff])(
    'byte %i is escaped wherever it stands, when it has to be',
    (byte) => {
      const letter = { 0: '0', 10: 'n', 13: 'r', 26: 'Z', 39: "'", 92: '\\' }[byte]
      for (const length of lengths) {
        for (let at = 0; at < length; at++) {
          memory.fill(byte, input, input + 200)
          memory.fill(0x61, input, input + length)
          memory[input + at] = byte
          const expected =
            'a'.repeat(at) + (letter ? `\\${letter}` : String.fromCharCode(byte)) + 'a'.repeat(length - at - 1)
          expect(made(escaped(input, input + length, output))).toBe(expected)
        }
      }
    },
  )

  test('bytes that all need a backslash get one each', () => {
    for (const length of lengths) {
      memory.fill(0x27, input, input + length)
      expect(made(escaped(input, input + length, output))).toBe("\\'".repeat(length))
    }
  })

  test('every byte has its two digits', () => {
    const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    memory.set(all, input)
    expect(made(hex(input, input + 256, output))).toBe(all.toString('hex').toUpperCase())
    expect(hex(input, input, output)).toBe(output)
  })
})
