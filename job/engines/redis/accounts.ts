import type { Wire } from './wire.ts'

/** One user of an ACL file, as ACL LIST writes it. */
export interface AclUser {
  /** latin1, as the protocol has it. */
  name: string
  rules: string[]
}

/** Pure: the users in the text of an ACL file, as latin1. Selectors in parentheses have blanks and stay one rule. */
export function usersIn(text: string): AclUser[] {
  const lines = text.split('\n').filter((line) => line.startsWith('user '))
  return lines.map((line) => {
    const [, name = '', ...rules] = line.match(/\([^)]*\)|\S+/g) ?? []
    return { name, rules }
  })
}

interface Making {
  users: readonly AclUser[]
  overwrite: boolean
}

/** Makes users on one server. Those that exist stay unless told, and the one that we are logged in as always does. */
export async function makeUsers(wire: Wire, { users, overwrite }: Making): Promise<{ made: number; stayed: number }> {
  const us = await wire.ask('ACL', 'WHOAMI')
  const there = (await wire.ask('ACL', 'USERS')) as string[]
  const chosen = users.filter(({ name }) => name !== us && (overwrite || !there.includes(name)))
  for (const { name, rules } of chosen) await wire.ask('ACL', 'SETUSER', name, 'reset', ...rules)
  return { made: chosen.length, stayed: users.length - chosen.length }
}
