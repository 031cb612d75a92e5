import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A folder with the real programs behind scripts; `faults` are shell text by program, with "$real" for the real one. */
export async function fakeClients(dir: string, real: string, faults: Record<string, string>): Promise<string> {
  await mkdir(dir, { recursive: true })
  for (const program of ['pg_dump', 'pg_dumpall', 'pg_restore']) {
    const fault = faults[program] ?? 'exec "$real" "$@"'
    await writeFile(
      join(dir, program),
      `#!/bin/bash\nreal='${real}/${program}'\n[ "$1" = --version ] && exec "$real" --version\n${fault}\n`,
    )
    await chmod(join(dir, program), 0o755)
  }
  return dir
}
