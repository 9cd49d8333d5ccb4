#!/usr/bin/env escript
%% Erlang's disk_log: processes of one VM log with balog/2, then sync/1; prints records and microseconds.
-mode(compile).

main([File, Producers, Records, Length]) ->
    {ok, log} = disk_log:open([{name, log}, {file, File}, {quiet, true}]),
    Each = list_to_integer(Records),
    Data = binary:copy(<<"x">>, list_to_integer(Length)),
    Main = self(),
    Pids = [spawn_link(fun() -> receive go -> produce(Each, Data), Main ! done end end)
            || _ <- lists:seq(1, list_to_integer(Producers))],
    Start = erlang:monotonic_time(microsecond),
    [Pid ! go || Pid <- Pids],
    [receive done -> ok end || _ <- Pids],
    ok = disk_log:sync(log),
    End = erlang:monotonic_time(microsecond),
    {no_written_items, Written} = lists:keyfind(no_written_items, 1, disk_log:info(log)),
    io:format("~w ~w~n", [Written, End - Start]),
    ok = disk_log:close(log).

produce(0, _) -> ok;
produce(Left, Data) -> disk_log:balog(log, Data), produce(Left - 1, Data).
