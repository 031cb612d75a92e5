import { JobError } from '../../errors.ts'
import type { Progress } from './restore.ts'
import { quoteName, SqlError, withSession } from './server.ts'
import { statementsIn } from './statements.ts'
import type { Place } from './target.ts'
import type { Entry } from './toc.ts'

/** What pg_dump says of a database itself: how it was made, its settings, owner and grants. */

/** CREATE DATABASE with the encoding and the locales that it had. */
export function databaseSql({ contents, target }: Progress, place: Place): string {
  const entry = contents.get(place)?.find((one) => one.kind === 'DATABASE')
  const [statement] = entry ? statementsIn(entry.sql, 'the archive') : []
  if (statement === undefined || !/^CREATE DATABASE /.test(statement))
    throw new JobError('verification', `the archive of database ${place.facts.name} does not say how to make it`)
  const sql = renamed(statement, place)
  return target.extraOptions.includes('--no-tablespaces') ? sql.replace(/ TABLESPACE = ("([^"]|"")+"|\S+)$/, '') : sql
}

/** Pure: the first name after DATABASE is the one that the database had. */
export function renamed(sql: string, { name, facts }: Pick<Place, 'name'> & { facts: { name: string } }): string {
  const plain = facts.name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
  const quoted = quoteName(facts.name).replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')
  return sql.replace(new RegExp(`\\bDATABASE (?:${quoted}|${plain})(?=[\\s;]|$)`), () => `DATABASE ${quoteName(name)}`)
}

/**
 * Settings, comment, owner, and who may connect: last, so that nobody comes in before. From the database itself, whose encoding its
 * comment has.
 */
export async function openDatabase({ run, target, detail, contents }: Progress, place: Place): Promise<void> {
  const entries = contents.get(place) ?? []
  const own = (entry: Entry) =>
    entry.kind === 'DATABASE PROPERTIES' || (entry.name.startsWith('DATABASE ') && entry.kind !== 'ACL')
  const database = quoteName(place.name)
  await withSession(
    detail.login,
    place.name,
    async (session) => {
      const say = async (sql: string) =>
        session.execute(sql, `settings of database ${place.name}`).catch((error) => {
          // a role that is not restored has settings here
          if (!(error instanceof SqlError && error.code === '42704')) throw error
          run.warn(`a setting of database ${place.name} is left out: ${error.message}`)
        })
      if (target.ownership)
        for (const sql of entries.filter(own).flatMap(sqlOf))
          if (!/timescaledb\.restoring/.test(sql)) await say(renamed(sql, place))
      if (!place.inPlace) await session.execute(`GRANT CONNECT, TEMPORARY ON DATABASE ${database} TO PUBLIC`)
      if (!target.ownership) return
      await say(`ALTER DATABASE ${database} OWNER TO ${quoteName(place.facts.owner)}`)
      for (const sql of entries
        .filter((entry) => entry.kind === 'ACL' && entry.name.startsWith('DATABASE '))
        .flatMap(sqlOf))
        await say(renamed(sql, place))
    },
    run,
  )
}

function sqlOf(entry: Entry): string[] {
  return statementsIn(entry.sql, 'the archive')
}
