import type { WorkContext } from '../../engine.ts'
import { clear } from './clear.ts'
import { look } from './look.ts'
import type { Work } from './orders.ts'
import { pack } from './pack.ts'
import { prove } from './prove.ts'
import { choose } from './selection.ts'
import { mark, unpack } from './unpack.ts'

/** What a worker beside the files is asked to do. */
export async function work(order: unknown, context: WorkContext): Promise<unknown> {
  const asked = order as Work
  switch (asked.do) {
    case 'look':
      return look(context.beside, asked.clients)
    case 'pack':
      return pack(asked, context)
    case 'mark':
      return mark(asked, context)
    case 'choose':
      return choose(asked, context)
    case 'clear':
      return clear(asked, context)
    case 'unpack':
      return unpack(asked, context)
    case 'prove':
      return prove(asked, context)
  }
}
