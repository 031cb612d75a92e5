// What `bench` measures with, and how it writes down what came out.
//
//   node test_scripts/bench.ts measure --case C --side S --results FILE --log FILE [--beside PIDFILE,…] [--order FILE] [--stored FOLDER]
//                                      [--patience SECONDS] [--warm-up] [--whatever] -- COMMAND...
//   node test_scripts/bench.ts stub
//   node test_scripts/bench.ts compress FILE COMPRESSED LEVEL
//   node test_scripts/bench.ts send BYTES ENDPOINT RECIPIENT
//   node test_scripts/bench.ts report FOLDER DOCUMENT

const [action, ...args] = process.argv.slice(2)

// each loads only what it needs: some are measured themselves
if (action === 'measure') process.exit(await (await import('./benches/measure.ts')).measure(args))
else if (action === 'stub') console.log((await (await import('../job/test/fakes/s3-stub.ts')).startS3Stub()).endpoint)
else if (action === 'compress')
  await (await import('./benches/compress.ts')).compressFile(...(args as [string, string, string]))
else if (action === 'send')
  await (await import('./benches/streams.ts')).sendStream(...(args as [string, string, string]))
else if (action === 'report') (await import('./benches/report.ts')).report(...(args as [string, string]))
else throw new Error(`no action ${action}`)
