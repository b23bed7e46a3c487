"""The page that shows a run while it goes on: see `edgeseq.watch.page.server`."""
