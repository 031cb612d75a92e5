// Data as applications have them: words that are not equally frequent, numbers, times, JSON, and random tokens between them. The same
// from run to run.
//
//   node test_scripts/benches/rows.ts TABLE --megabytes M              lines as COPY and LOAD DATA take them; a table of `tables`
//   node test_scripts/benches/rows.ts redis --megabytes M              commands as redis-cli --pipe takes them
//   node test_scripts/benches/rows.ts mongodb --megabytes M --uri URI  inserted there

import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { MongoClient } from 'mongodb'

let state = 1

/** 32 bits (xorshift): fast, and the same in every run. */
function random(): number {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return state >>> 0
}

function below(limit: number): number {
  return random() % limit
}

function hex(digits: number): string {
  let text = ''
  while (text.length < digits) text += random().toString(16).padStart(8, '0')
  return text.slice(0, digits)
}

const syllables =
  'ba be da de fo ga gu ha in ka la le ma mi na no pa ra re sa se ta ti to un va ver wo zu str ach ein'.split(' ')
const vocabulary = Array.from({ length: 4000 }, () =>
  Array.from({ length: 1 + below(4) }, () => syllables[below(syllables.length)]).join(''),
)

/** Few words are frequent, and most are rare. */
function word(): string {
  const at = random() / 2 ** 32
  return vocabulary[Math.floor(vocabulary.length * at * at * at)] as string
}

function words(count: number): string {
  let text = word()
  for (let i = 1; i < count; i++) text += ` ${word()}`
  return text
}

function oneOf(...choice: string[]): string {
  return choice[below(choice.length)] as string
}

function money(): string {
  return (below(10_000_000) / 100).toFixed(2)
}

function time(): string {
  return new Date(1_735_700_000_000 + below(50_000_000) * 1000).toISOString().slice(0, 19).replace('T', ' ')
}

function settings(): string {
  return `{"theme": "${oneOf('dark', 'light')}", "newsletter": ${below(2) === 1}, "tags": ["${word()}", "${word()}"], "seen": ${below(10 ** 6)}}`
}

/** A row for the number `i`. */
const tables: Record<string, (i: number) => (string | number)[]> = {
  customers: (i) => [
    i,
    `${word()}.${word()}${i}@example.org`,
    `${oneOf('Åsa', 'Søren', 'Zoë', 'Ann', 'Olena')} ${words(2)}`,
    words(4),
    `+${below(99)} ${below(10 ** 9)}`,
    money(),
    time(),
    settings(),
    hex(32),
  ],
  orders: (i) => [
    i,
    1 + below(1_000_000),
    oneOf('new', 'paid', 'sent', 'sent', 'sent', 'returned'),
    time(),
    money(),
    oneOf('EUR', 'SEK', 'JPY'),
    words(6),
    below(4) ? '\\N' : words(5 + below(30)),
  ],
  events: (i) => [
    i,
    1 + below(1_000_000),
    time(),
    hex(32),
    `/${word()}/${word()}/${below(100_000)}?from=${word()}`,
    `Mozilla/5.0 (${oneOf('X11; Linux x86_64', 'Windows NT 10.0; Win64', 'Macintosh')}) ${oneOf('Firefox', 'Chrome')}/${100 + below(40)}.0`,
    below(3000),
    words(10 + below(40)),
  ],
}

function* lines(row: (i: number) => (string | number)[]): Generator<string> {
  for (let i = 1; ; i++) yield `${row(i).join('\t')}\n`
}

/** Sessions with an end, customers as hashes, carts as lists, scores. */
function* commands(): Generator<string> {
  for (let i = 1; ; i++) {
    yield command(
      'SET',
      `session:${hex(32)}`,
      `{"user": ${i}, "token": "${hex(64)}", "state": ${settings()}, "text": "${words(30)}"}`,
      'EX',
      10 ** 6 + i,
    )
    yield command('HSET', `customer:${i}`, 'name', words(3), 'balance', money(), 'since', time(), 'note', words(25))
    if (i % 3 === 0)
      yield command('RPUSH', `cart:${i}`, ...Array.from({ length: 12 }, () => `${word()}:${below(1000)}`))
    yield command('ZADD', `scores:${i % 1000}`, below(10 ** 6), `customer:${i}`)
  }
}

function command(...words: (string | number)[]): string {
  const texts = words.map(String)
  return `*${texts.length}\r\n${texts.map((text) => `$${Buffer.byteLength(text)}\r\n${text}\r\n`).join('')}`
}

async function print(pieces: Iterable<string>, bytes: number): Promise<void> {
  let block = ''
  let written = 0
  for (const piece of pieces) {
    block += piece
    if (block.length < 256 * 1024) continue
    written += block.length
    if (!process.stdout.write(block)) await once(process.stdout, 'drain')
    block = ''
    if (written >= bytes) return
  }
}

/** Orders with their lines inside, as documents are. */
async function insert(uri: string, bytes: number): Promise<void> {
  const client = new MongoClient(uri)
  const orders = client.db('shop').collection<{ _id: number }>('orders')
  await orders.createIndex({ 'customer.id': 1 })
  for (let written = 0, i = 1; written < bytes; ) {
    const documents = Array.from({ length: 1000 }, () => order(i++))
    written += JSON.stringify(documents).length
    await orders.insertMany(documents)
  }
  await client.close()
}

function order(i: number) {
  const lines = Array.from({ length: 1 + below(5) }, () => ({
    sku: word(),
    title: words(4),
    pieces: 1 + below(9),
    price: below(9999) / 100,
  }))
  return {
    _id: i,
    customer: { id: below(10 ** 6), name: words(2), token: hex(32) },
    placed: new Date(time()),
    status: oneOf('new', 'paid', 'sent'),
    note: words(20),
    lines,
  }
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { megabytes: { type: 'string', default: '100' }, uri: { type: 'string', default: '' } },
})
const [what = ''] = positionals
const bytes = Number(values.megabytes) * 1e6
if (what === 'redis') await print(commands(), bytes)
else if (what === 'mongodb') await insert(values.uri, bytes)
else if (tables[what]) await print(lines(tables[what]), bytes)
else throw new Error(`no data ${what}`)
