import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'

/** The real clients behind scripts that stop where a test says so. */
export interface HeldClients {
  /** For `clients` in the values. */
  readonly folder: string
  /** The next call of a client whose arguments match the shell pattern stops before it begins, or after it is done. */
  hold(
    name: string,
    pattern: string,
    when: 'before' | 'after',
  ): Promise<{ held: Promise<void>; release(): Promise<void> }>
  /** All calls so far, one line each: name and arguments. */
  calls(): Promise<string[]>
}

const names = ['ndb_mgm', 'ndb_restore', 'mysqldump', 'ndb_print_backup_file']

export async function heldClients(dir: string, binDir: string): Promise<HeldClients> {
  const folder = join(dir, 'clients')
  await mkdir(folder, { recursive: true })
  for (const name of names) {
    await writeFile(join(folder, name), script(folder, join(binDir, name)))
    await chmod(join(folder, name), 0o755)
  }
  return {
    folder,
    hold: async (name, pattern, when) => {
      const order = join(folder, `${name}.${when}`)
      const held = `${order}.held`
      await rm(held, { force: true })
      await writeFile(order, pattern)
      return { held: appears(held), release: () => rm(held, { force: true }) }
    },
    calls: async () => (await readFile(join(folder, 'calls'), 'utf8')).trim().split('\n'),
  }
}

/** The order is a file with a pattern; the held script turns it into `.held` and goes on when that is gone. */
function script(folder: string, real: string): string {
  return `#!/usr/bin/env bash
name=\${0##*/}
echo "$name $*" >>'${folder}/calls'
hold() {
  local order='${folder}'/$name.$1 pattern
  [ -e "$order" ] || return 0
  pattern=$(cat "$order")
  # shellcheck disable=SC2254
  case "$*" in $pattern) ;; *) return 0 ;; esac
  mv "$order" "$order.held" 2>/dev/null || return 0
  while [ -e "$order.held" ]; do read -rt 0.05 <> <(:) || :; done
}
hold before "$@"
'${real}' "$@"
status=$?
hold after "$@"
exit $status
`
}

async function appears(file: string): Promise<void> {
  for (let tries = 0; tries < 1200; tries++) {
    if (existsSync(file)) return
    await setTimeout(50)
  }
  throw new Error(`${file} did not appear: the client was never called so`)
}
