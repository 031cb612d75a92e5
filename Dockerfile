# The image of the job: Node, the job and its packages, and the programs of RonDB.
#
#   docker build -t holdfast .
#
# Nothing is compiled: Node runs TypeScript as it is. Take the RonDB of your cluster with --build-arg RONDB_IMAGE=…; each image may be
# given with its digest. The clients of MariaDB and PostgreSQL, and rclone, are packages of Debian (PACKAGES), those of MongoDB, and of another major
# of PostgreSQL, are taken from their images; one that has none adds nothing. docs/install.md has the sizes. test_scripts/image builds the
# image with a version, and brings it into a cluster.

ARG NODE_IMAGE=node:24-trixie-slim
ARG RONDB_IMAGE=hopsworks/rondb:24.10
ARG MONGO_IMAGE=mongo:7
ARG POSTGRES_IMAGE=node:24-trixie-slim

# The programs that the job runs, with every library that they find in the image of RonDB.
FROM ${RONDB_IMAGE} AS rondb
USER root
RUN set -eu; \
  mkdir -p /clients/bin /clients/lib; \
  for program in ndb_mgm ndb_restore ndb_print_backup_file mysqldump mysql; do \
    cp -pL "/srv/hops/mysql/bin/$program" /clients/bin/; \
    ldd "/srv/hops/mysql/bin/$program" >/tmp/libraries; \
    if grep 'not found' /tmp/libraries; then exit 1; fi; \
    awk '$2 == "=>" { print $3 }' /tmp/libraries | xargs -I{} cp -pL {} /clients/lib/; \
  done

# In the same way those of MongoDB and PostgreSQL, where they are.
FROM ${MONGO_IMAGE} AS mongo
USER root
RUN set -eu; \
  mkdir -p /clients/bin /clients/lib; \
  for program in mongodump mongorestore; do \
    path=$(command -v "$program") || continue; \
    cp -pL "$path" /clients/bin/; \
    if ldd "$path" >/tmp/libraries 2>&1; then awk '$2 == "=>" { print $3 }' /tmp/libraries | xargs -I{} cp -pL {} /clients/lib/; fi; \
  done

FROM ${POSTGRES_IMAGE} AS postgres
USER root
RUN set -eu; \
  mkdir -p /clients/lib; \
  for path in /usr/lib/postgresql/*/bin/pg_dump /usr/lib/postgresql/*/bin/pg_dumpall /usr/lib/postgresql/*/bin/pg_restore; do \
    if [ ! -x "$path" ]; then continue; fi; \
    mkdir -p "/clients${path%/*}"; \
    cp -pL "$path" "/clients$path"; \
    ldd "$path" >/tmp/libraries; \
    awk '$2 == "=>" { print $3 }' /tmp/libraries | xargs -I{} cp -pL {} /clients/lib/; \
  done

# Debian with Node alone. A library that Debian has stays Debian's.
FROM ${NODE_IMAGE} AS system
# clients of other databases, and rclone for the storages of that name, by their Debian packages
ARG PACKAGES="mariadb-client postgresql-client rclone"
RUN if [ -n "$PACKAGES" ]; then \
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $PACKAGES && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log; \
  fi
COPY --from=rondb /clients /srv/hops/mysql
COPY --from=mongo /clients /opt/mongo
COPY --from=postgres /clients /opt/postgres
# libpq is that of the newest major, which serves the older ones, too
RUN set -eu; \
  if [ -d /opt/postgres/usr ]; then \
    cp -rn /opt/postgres/usr/. /usr/; \
    newest=$(ls /usr/lib/postgresql | sort -n | tail -n 1); \
    if [ -d "/opt/postgres/usr/lib/postgresql/$newest" ]; then mv /opt/postgres/lib/libpq.so.5 /opt/postgres/; fi; \
    rm -r /opt/postgres/usr; \
  fi; \
  for library in /srv/hops/mysql/lib/* /opt/mongo/lib/* /opt/postgres/lib/*; do \
    if ldconfig -p | grep -qF "${library##*/} ("; then rm "$library"; fi; \
  done; \
  if [ -e /opt/postgres/libpq.so.5 ]; then mv /opt/postgres/libpq.so.5 /opt/postgres/lib/; fi; \
  printf '%s\n' /srv/hops/mysql/lib /opt/mongo/lib /opt/postgres/lib >/etc/ld.so.conf.d/clients.conf; \
  ldconfig; \
  cd /usr/local; \
  rm -rf bin/npm bin/npx bin/corepack bin/yarn bin/yarnpkg bin/docker-entrypoint.sh include lib/node_modules share/doc share/man \
    ./*.md /opt/yarn-* /root/.npm /var/cache/ldconfig/* /var/cache/debconf/* /var/log/*

# Without typings, source maps and what only another runtime loads: half of the bytes, none of what Node runs.
FROM ${NODE_IMAGE} AS packages
WORKDIR /app
COPY .npmrc package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-progress --loglevel=error \
  && find node_modules -type f \( -name '*.ts' -o -name '*.cts' -o -name '*.mts' -o -name '*.map' \) -delete \
  && rm -rf node_modules/bare-*/prebuilds node_modules/.package-lock.json \
  && mkdir -p node_modules/node/bin \
  && ln -s /usr/local/bin/node node_modules/node/bin/node

FROM ${NODE_IMAGE} AS job
WORKDIR /app
COPY LICENSE holdfast package.json ./
COPY job job
# what the image says of itself, and writes into manifests; that of package.json when empty
ARG VERSION=""
RUN if [ -n "$VERSION" ]; then npm pkg set "version=$VERSION"; fi

# From scratch, as a layer over Node's image would hide npm instead of leaving it out.
FROM scratch
COPY --from=system / /
COPY --from=packages /app/node_modules /app/node_modules
COPY --from=job /app /app
ENV PATH=/app:/srv/hops/mysql/bin:/opt/mongo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
# where holdfast.yaml is looked for when nothing else is said
WORKDIR /config
# Any user will do, OpenShift's random one too: nothing here is written to, but /tmp.
USER 1000:1000
RUN holdfast --version && for client in ndb_mgm ndb_restore mysqldump mysql; do "$client" --version || exit 1; done \
  && ndb_print_backup_file --help >/dev/null \
  && for client in mongodump mongorestore mariadb-dump mariadb /usr/lib/postgresql/*/bin/pg_dump /usr/lib/postgresql/*/bin/pg_dumpall \
    /usr/lib/postgresql/*/bin/pg_restore; do \
    if command -v "$client" >/dev/null; then "$client" --version || exit 1; fi; \
  done
ENTRYPOINT ["/app/holdfast"]
CMD ["--help"]

ARG VERSION=""
ARG REVISION=""
ARG CREATED=""
LABEL org.opencontainers.image.title="holdfast" \
  org.opencontainers.image.description="Backs up and restores RonDB and the databases beside it on Kubernetes" \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}" \
  org.opencontainers.image.created="${CREATED}"
