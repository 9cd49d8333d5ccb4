"""The writer's process: drains the ring of one log into its page files.

Seven threads may run in it, and a handler of SIGTERM and SIGINT.  Only the main thread touches the ring and
the writer's state; the others post and ring the bell, which wakes it.  Where one process writes several logs,
the thread that serves a log is its main thread.  tests/rules/test_threads.py compares this table with the
code: the last column names what the function uses of anything but its own variables.

| thread  | function                              | may touch     | uses                                  |
|---------|---------------------------------------|---------------|---------------------------------------|
| main    | _writer/writer.py: Writer.run         | everything    |                                       |
| serve   | _writer/serving_all.py: _serve        | its log       | `log.serve_until_stopped`             |
| sync    | _writer/syncer.py: Syncer._run        | results, bell | `perform` `self._post`                |
| sync    | _writer/syncer.py: Syncer._post       | results, bell | `self.results.put` `self._ring_bell`  |
| sync    | _writer/syncer.py: perform            | a job's files | `job.run` `Result` `time.monotonic`   |
| deaths  | _ring/death_watch.py: DeathWatch._run | flag, bell    | `epoll.poll` `self._end` `self._news` |
| deaths  | _ring/death_watch.py: DeathWatch._news | flag, bell   | `self.has_news` `self._tell`          |
| archive | _writer/archiving.py: Archiving._run | results, bell | `prepare` `self._post`                 |
| archive | _writer/archiving.py: Archiving._post | results, bell | `self.prepared.put` `self._ring_bell` |
| archive | _writer/archiving.py: prepare         | a job's files | `job.run` `Prepared`                  |
| close   | _os/background.py: _close             | files given   | `file.close`                          |
| metrics | _metrics/endpoint.py: _serve         | its endpoint  | `endpoint.run`                        |
| stderr  | _os/background.py: _print             | descriptor 2  | `suppress` `os.write` `_let_go`       |
| signals | _writer/signals.py: StopSignals.ask   | flag, bell    | `self.asked` `self.ring_bell`         |
| signals | _writer/signals.py: StopSignals.hang_up | flag, bell  | `self.hung_up` `self.ring_bell`       |

Every store that the writer makes into a ring stands in live_ring.py; the same test sees to that, too.
"""
