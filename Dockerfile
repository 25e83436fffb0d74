# docker build -t hsimap .            docker run --rm -v "$PWD:/data" hsimap predict line.tif --out maps
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY hsimap hsimap
RUN python3 -m venv /opt/hsimap \
 && /opt/hsimap/bin/python -m pip install --no-cache-dir -c constraints.txt .

FROM ${BASE}
COPY --from=build /opt/hsimap /opt/hsimap
COPY models /opt/hsimap-models
RUN useradd --uid 1000 --create-home hsimap && mkdir /data && chown hsimap /data
ENV PATH=/opt/hsimap/bin:$PATH
USER hsimap
WORKDIR /data
ENTRYPOINT ["hsimap"]
CMD ["--help"]
