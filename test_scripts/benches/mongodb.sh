#!/usr/bin/env bash
# MongoDB: backups beside mongodump through zstd and with its own gzip, restores beside mongorestore.
# shellcheck disable=SC2016,SC2034,SC2154 # bench reads what is set here, and sets what is not

# shellcheck source=/dev/null
source test_scripts/servers/mongodb.sh
server_options=()

bench_mongodb() { bench_engine mongodb 1000; }

versions() {
  if command -v mongod >/dev/null; then mongod --version | sed -n 1p; else echo "FerretDB in place of MongoDB"; fi
  "$tools/mongodump" --version | sed -n 's/ version:/ /p'
}

fill() { node test_scripts/benches/rows.ts mongodb --megabytes "$megabytes" --uri "$(<"$work/server/uri")"; }

tally() {
  node --input-type=module -e '
    import { MongoClient } from "mongodb"
    const client = new MongoClient(process.argv[1])
    const text = { $group: { _id: null, documents: { $sum: 1 }, bytes: { $sum: { $strLenBytes: "$note" } } } }
    console.log(JSON.stringify(await client.db("shop").collection("orders").aggregate([text]).toArray()))
    await client.close()' "$(<"$work/server/uri")"
}

backups_by_hand() {
  by_hand "mongodump + zstd" dump_through_zstd
  by_hand "mongodump --gzip" dump_with_gzip
}

restores_by_hand() {
  by_hand "zstd + mongorestore" restore_through_zstd
  by_hand "zstd + mongorestore, 2 writers" restore_with_writers
}

back_up_for_restore() { dump_through_zstd; }

dump() { "$tools/mongodump" --uri="$(<"$work/server/uri")" --archive "$@"; }

dump_through_zstd() { dump | zstd -q -3 | "$rclone" rcat s3:bench/by-hand/dump.archive.zst; }

dump_with_gzip() { dump --gzip | "$rclone" rcat s3:bench/by-hand/dump.archive.gz; }

restore_with_writers() { restore_through_zstd --numInsertionWorkersPerCollection=2; }

restore_through_zstd() {
  "$rclone" cat s3:bench/by-hand/dump.archive.zst | zstd -q -dc | "$tools/mongorestore" --uri="$(<"$work/server/uri")" --archive --nsInclude='shop.*' "$@"
}
