import { storageContract } from '../contracts/storage.ts'
import { memoryStorage } from '../fakes/memory.ts'

storageContract('memory', async () => ({ storage: memoryStorage(), dispose: async () => {} }))
