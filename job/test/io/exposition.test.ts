import { describe, expect, test } from 'vitest'
import { exposition, groupPath } from '../../io/exposition.ts'

describe('the text format', () => {
  test('has a help, a type and a line for each sample, all ended by a line feed', () => {
    const stored = [
      { labels: { storage: 'main' }, value: 1.5e12 },
      { labels: { storage: 'offsite', tier: 'cold' }, value: 0 },
    ]
    const text = exposition([
      { name: 'holdfast_backup_bytes', help: 'Size of it', samples: [{ labels: {}, value: 12.5 }] },
      { name: 'holdfast_backup_stored_bytes', help: 'Stored', samples: stored },
    ])
    expect(text).toBe(
      [
        '# HELP holdfast_backup_bytes Size of it',
        '# TYPE holdfast_backup_bytes gauge',
        'holdfast_backup_bytes 12.5',
        '# HELP holdfast_backup_stored_bytes Stored',
        '# TYPE holdfast_backup_stored_bytes gauge',
        'holdfast_backup_stored_bytes{storage="main"} 1500000000000',
        'holdfast_backup_stored_bytes{storage="offsite",tier="cold"} 0',
        '',
      ].join('\n'),
    )
  })

  test.each([
    ['a "quoted" one', 'a \\"quoted\\" one'],
    ['C:\\new', 'C:\\\\new'],
    ['two\nlines', 'two\\nlines'],
    ['\\"', '\\\\\\"'],
    ['smörgås', 'smörgås'],
  ])('escapes what would end a label value: %j', (value, written) => {
    const text = exposition([{ name: 'x', help: 'h', samples: [{ labels: { l: value }, value: 1 }] }])
    expect(text).toBe(`# HELP x h\n# TYPE x gauge\nx{l="${written}"} 1\n`)
  })

  test('escapes line ends and backslashes in a help, and leaves its quotes', () => {
    expect(exposition([{ name: 'x', help: 'a "b"\\\nc', samples: [] }])).toBe(
      '# HELP x a "b"\\\\\\nc\n# TYPE x gauge\n',
    )
  })
})

describe('the path of a group', () => {
  test('begins with the job and has every label in its order', () => {
    expect(groupPath({ job: 'holdfast', verb: 'backup', name: 'nightly' })).toBe(
      '/metrics/job/holdfast/verb/backup/name/nightly',
    )
  })

  test('has the job first wherever it stands', () => {
    expect(groupPath({ verb: 'backup', job: 'holdfast' })).toBe('/metrics/job/holdfast/verb/backup')
  })

  test.each([
    ['/var/tmp', 'L3Zhci90bXA'],
    ['', '='],
    ['..', 'Li4'],
    ['.', 'Lg'],
    ['a b', 'YSBi'],
    ['50%', 'NTAl'],
    ['Προμηθεύς', 'zqDPgc6_zrzOt864zrXPjc-C'],
  ])('has base64 for what a path would not carry: %j', (value, coded) => {
    expect(groupPath({ job: 'holdfast', at: value })).toBe(`/metrics/job/holdfast/at@base64/${coded}`)
    expect(Buffer.from(coded, 'base64url').toString()).toBe(value)
  })

  test.each(['nightly', 'prod-1', 'a.b', '_x', '2'])('leaves %s as it is', (value) => {
    expect(groupPath({ job: 'holdfast', at: value })).toBe(`/metrics/job/holdfast/at/${value}`)
  })
})
