import { expect, test } from 'vitest'
import type { Entry } from '../../../engines/postgres/toc.ts'
import { unheld } from '../../../engines/postgres/unheld.ts'

const entry = (kind: string, sql: string): Entry => ({
  ...{
    id: 1,
    oid: '1',
    section: 'post-data',
    name: 'x',
    schema: 'shop',
    owner: 'me',
    copy: '',
    needs: [],
    data: false,
  },
  ...{ kind, sql },
})
const foreignKey = (to: string) =>
  entry(
    'FK CONSTRAINT',
    `ALTER TABLE ONLY shop.orders\n    ADD CONSTRAINT x FOREIGN KEY ("a REFERENCES b.c") REFERENCES ${to};\n`,
  )

test.each<[string, string, string, boolean]>([
  ['shop.customers(id)', 'shop', 'customers', true],
  ['shop.customers(id) ON DELETE SET NULL (c) DEFERRABLE', 'shop', 'customers', true],
  ['shop.customers2(id)', 'shop', 'customers', false],
  ['other.customers(id)', 'shop', 'customers', false],
  ['"Sh""op."."cust omers"("I d")', 'Sh"op.', 'cust omers', true],
  ['shop."customers"(id)', 'shop', 'customers', true],
  ['b.c(id)', 'b', 'c', true],
  ['shop.customers(id)', 'b', 'c', false],
])('a foreign key to %s refers to %s.%s: %s', (to, schema, name, refers) => {
  const constraint = foreignKey(to)
  expect(unheld([entry('CONSTRAINT', constraint.sql), constraint], [{ schema, name }])).toEqual(
    refers ? [constraint] : [],
  )
})

test('what is said of such a key goes with it, and keys to the parents of a partition go, too', () => {
  const attach = entry(
    'TABLE ATTACH',
    'ALTER TABLE ONLY shop.events ATTACH PARTITION shop."of 2023" FOR VALUES IN (1);\n',
  )
  const above = entry('TABLE ATTACH', 'ALTER TABLE ONLY shop.all_events ATTACH PARTITION shop.events DEFAULT;\n')
  const key = foreignKey('shop.all_events(id)')
  const comment = entry('COMMENT', "COMMENT ON CONSTRAINT x ON shop.orders IS 'why';\n\n\n")
  const other = entry('COMMENT', "COMMENT ON CONSTRAINT x ON shop.orders2 IS 'why';\n")
  const all = [attach, above, key, comment, other]
  expect(unheld(all, [{ schema: 'shop', name: 'of 2023' }])).toEqual([key, comment])
  expect(unheld(all, [{ schema: 'shop', name: 'of 2024' }])).toEqual([])
})
