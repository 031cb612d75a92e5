import type { Order } from '../engine.ts'

/** Workers of one run by name: in this process and in others of this machine here, pods beside the data in Kubernetes. */
export interface Workers {
  /** Carries an order out; orders of one worker go one after the other. Rejects with the worker's own error. */
  order(order: Order): Promise<unknown>
  /** Ends all workers and awaits them. */
  close(): Promise<void>
}

/** Workers whose code is loaded with their first order: the client of Kubernetes takes memory, and the rest its time. */
export function eventually(make: () => Promise<Workers>): Workers {
  let made: Promise<Workers> | undefined
  return {
    order: async (order) => {
      made ??= make()
      return (await made).order(order)
    },
    close: async () => {
      // why they could not be made was the answer to the first order
      await made?.then(
        (workers) => workers.close(),
        () => {},
      )
    },
  }
}
