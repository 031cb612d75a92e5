import type { RunContext } from '../../engine.ts'
import { JobError, textOf } from '../../errors.ts'
import { tlsTexts } from '../../io/connection.ts'
import type { Reply } from './protocol.ts'
import type { Connection, Credentials } from './values.ts'
import { type Address, type Login, nameOf, withWire } from './wire.ts'

/** A server that takes writes, with its part of the slots; all of them when it is no cluster. */
export interface Master {
  address: Address
  slots: [number, number][]
}

export const allSlots = 16_384

/** The account and certificates that the values name. Throws `configuration` when a key of a Secret is missing. */
export function loginOf(connection: Connection, { secret }: Pick<RunContext, 'secret'>, at: string): Login {
  return {
    account: accountOf(connection.credentials, secret, `${at}.credentials`),
    tls: tlsTexts(connection.tls, secret, `${at}.tls`),
    at,
    accountAt: `${at}.credentials`,
  }
}

function accountOf(credentials: Credentials | undefined, secret: RunContext['secret'], at: string): Login['account'] {
  if (!credentials) return undefined
  const { username = 'default', usernameKey, passwordKey } = credentials
  const user = usernameKey === undefined ? username : secret(credentials, usernameKey, at)
  return { user, password: secret(credentials, passwordKey, at) }
}

interface Asking extends Pick<RunContext, 'secret' | 'signal'> {
  login: Login
}

/** The server itself, or what sentinels or a cluster say. Throws `server`. */
export async function mastersOf(connection: Connection, asking: Asking): Promise<Master[]> {
  const { host, port, sentinel, cluster } = connection
  if (cluster) return clusterMasters(cluster.servers, { port, asking })
  const address = sentinel ? await askSentinels(connection, asking) : { host: host as string, port }
  return [{ address, slots: [[0, allSlots - 1]] }]
}

function addressOf(server: string, port: number): Address {
  const [, v6, name, said] = /^(?:\[(.+)\]|([^:]+))(?::(\d+))?$/.exec(server) ?? []
  return { host: v6 ?? name ?? server, port: Number(said ?? port) }
}

/** The first answer counts; all that did not answer are named when there is none. */
async function firstOf<T>(addresses: Address[], what: string, ask: (address: Address) => Promise<T>): Promise<T> {
  const failures: JobError[] = []
  for (const address of addresses) {
    try {
      return await ask(address)
    } catch (error) {
      if (!(error instanceof JobError) || error.kind !== 'server') throw error
      failures.push(error)
    }
  }
  throw new JobError('server', `${what}: ${failures.map(textOf).join('; ')}`, {
    hint: failures.map((one) => one.hint).find((hint) => hint !== undefined),
  })
}

async function askSentinels({ sentinel }: Connection, { login, secret, signal }: Asking): Promise<Address> {
  const { servers, master, credentials } = sentinel as NonNullable<Connection['sentinel']>
  const accountAt = `${login.at}.sentinel.credentials`
  const sentinels: Login = { ...login, accountAt, account: accountOf(credentials, secret, accountAt) }
  const addresses = servers.map((server) => addressOf(server, 26_379))
  return firstOf(addresses, `no sentinel knows the master ${master}`, (address) =>
    withWire(address, { login: sentinels, signal }, async (wire) => {
      const said = await wire.ask('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', Buffer.from(master))
      if (Array.isArray(said)) return { host: String(said[0]), port: Number(said[1]) }
      throw new JobError('server', `sentinel ${nameOf(address)} does not watch a master of that name`, {
        hint: `check ${login.at}.sentinel.master: it is the name in \`sentinel monitor\``,
      })
    }),
  )
}

async function clusterMasters(
  servers: string[],
  { port, asking }: { port: number; asking: Asking },
): Promise<Master[]> {
  const { login, signal } = asking
  const addresses = servers.map((server) => addressOf(server, port))
  return firstOf(addresses, 'no node of the cluster answers', (address) =>
    withWire(address, { login, signal }, async (wire) =>
      mastersIn((await wire.ask('CLUSTER', 'SLOTS')) as Reply[], address),
    ),
  )
}

/** Pure: the masters in what CLUSTER SLOTS says, in the order of their slots. A node without an address is the one that was asked. */
export function mastersIn(said: readonly Reply[], asked: Address): Master[] {
  const masters = new Map<string, Master>()
  for (const [from, to, [host, port] = []] of said as [number, number, [string | null, number]?][]) {
    const address = { host: host || asked.host, port: Number(port ?? asked.port) }
    const master = masters.get(nameOf(address)) ?? { address, slots: [] }
    master.slots.push([from, to])
    masters.set(nameOf(address), master)
  }
  const found = [...masters.values()]
  for (const { slots } of found) slots.sort(([a], [b]) => a - b)
  found.sort((a, b) => (a.slots[0]?.[0] ?? 0) - (b.slots[0]?.[0] ?? 0))
  const served = found.flatMap(({ slots }) => slots).reduce((sum, [from, to]) => sum + to - from + 1, 0)
  if (served === allSlots) return found
  throw new JobError('server', `the cluster serves ${served} of its ${allSlots} slots`, {
    hint: 'CLUSTER INFO says what is wrong: masters without a replica may be down',
  })
}

/** Pure: which slots, as people write them. */
export function slotsText({ slots }: Pick<Master, 'slots'>): string {
  return slots.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(' ')
}
