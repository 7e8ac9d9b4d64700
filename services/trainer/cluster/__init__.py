"""Building and fitting on a Dask cluster. The only importer of Dask, and imported where one is set.

Workers run Headrace's own package, and read from the store with their own settings: no credential
travels with the work. `on_cluster` is the front door; importing this package alone costs nothing,
for a worker does so to say what it runs.
"""
