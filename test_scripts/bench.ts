// What `bench` measures with, and how it writes down what came out.
//
//   node test_scripts/bench.ts measure --case C --side S --results FILE --log FILE [--beside PIDFILE,…] [--order FILE] [--stored FOLDER]
//                                      [--patience SECONDS] [--warm-up] [--whatever] -- COMMAND...
//   node test_scripts/bench.ts stub
//   node test_scripts/bench.ts compress FILE COMPRESSED LEVEL
//   node test_scripts/bench.ts send BYTES ENDPOINT RECIPIENT
//   node test_scripts/bench.ts report FOLDER DOCUMENT

import { startS3Stub } from '../job/test/fakes/s3-stub.ts'
import { measure } from './benches/measure.ts'
import { report } from './benches/report.ts'
import { compressFile, sendStream } from './benches/streams.ts'

const [action, ...args] = process.argv.slice(2)
if (action === 'measure') process.exit(await measure(args))
else if (action === 'stub') console.log((await startS3Stub()).endpoint)
else if (action === 'compress') await compressFile(...(args as [string, string, string]))
else if (action === 'send') await sendStream(...(args as [string, string, string]))
else if (action === 'report') report(...(args as [string, string]))
else throw new Error(`no action ${action}`)
