/** The version in what a server or program says of itself; RonDB's own before MySQL's. `ndb-9.7.2`, `RonDB-24.10.1`, `9.7.2`. */
export function versionIn(text: string): string | undefined {
  return /RonDB-([\d.]+)/i.exec(text)?.[1] ?? /ndb-([\d.]+)/.exec(text)?.[1] ?? /\b(\d+\.\d+\.\d+)/.exec(text)?.[1]
}

export function connectString(managementServers: string[]): string {
  return managementServers.join(',')
}
