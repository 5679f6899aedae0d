"""Sessions that reports are tried on: a bit of everything, many calls, and texts that mean harm."""

import foldlog

# Whatever a text holds, it stays text.
HOSTILE = (
    "</script><script>document.title='pwned'</script><!-- <script> <img src=x onerror=\"document.title='pwned'\"> "
    "javascript:alert(1) \u202egnp.exe\u202c \u200f\u2028\u2029 \x00\x1b[31m &lt;b&gt; ]]> "
    "<svg/onload=alert(1)> {{data}} ```` | # `"
)


def fill_family(store: foldlog.Store) -> None:
    """A session with two below it, one of which went wrong; known, partial and unknown numbers."""
    with store.start_session(id="family", provider="acme", prompt="Count the words") as session:
        session.add_message("system", "Answer briefly.")
        with session.turn() as turn:
            turn.message("user", "How many words?")
            with turn.call("root", provider="acme", model="large") as call:
                call.ok(
                    usage={"input_tokens": 40, "output_tokens": 7, "total_tokens": 47, "cached_tokens": 3},
                    cost={"usd": 0.1},
                    response_ref=session.value_ref("I ask two others, " + "and more, " * 1000),
                )
            turn.message("assistant", "Asking two others.", call_id=call.id)
            for number in (1, 2):
                with session.start_child(turn_id=turn.id, query=f"part {number}") as child, child.turn() as below:
                    with below.call("leaf", provider="acme", model="small") as leaf:
                        leaf.ok(usage={"input_tokens": 10, "output_tokens": 2}, cost={"usd": 0.2})
                    if number == 2:
                        below.call("leaf", provider="other").__enter__().error("refused: needle in the hay")
                    below.final(number)
            times = {"started_at": "2026-11-22T10:00:00.000000Z", "ended_at": "2026-11-22T10:00:01.000000Z"}
            turn.eval(code="print(1 / 0)", status="error", error="ZeroDivisionError", stdout="one\n", **times)
            turn.message("observation", "ZeroDivisionError")
            turn.final({"words": 4})
        left = session.add_turn()
        session.add_call("leaf", turn_id=left["id"], provider="acme", model="large")


def fill_forks(store: foldlog.Store) -> None:
    """A session with children and an attached one, a fork of it, and one that goes on from it; unknown costs."""
    with store.start_session(id="source", provider="acme") as source:
        with source.turn() as turn:
            with turn.call("root", provider="acme", model="large") as call:
                call.ok(usage={"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}, cost={"usd": 0.1})
            with source.start_child(turn_id=turn.id) as child:
                child.add_call(
                    "leaf_batch_item", model="small", status="ok", batch_id="b", batch_index=0, cost={"usd": "unknown"},
                    usage={"input_tokens": "unknown", "prompt_tokens": 7, "cached_input_tokens": 2},
                    cache={"status": "hit"},
                )  # fmt: skip
                with child.start_child() as below:
                    below.add_call("leaf", model="small", status="ok", usage={"input_tokens": 1}, cost={"usd": 0.2})
                    below.add_call("leaf", status="interrupted", error="cut")
                child.add_call("tool", status="ok", usage={"input_tokens": 1000}, cost={"usd": 1000})  # no model call
            source.snapshot({"n": 1}, turn_id=turn.id)
            turn.final({"n": 1})
        attached = source.attach_child("source", turn_id=1)
        attached.add_call("root", provider="other", status="ok", usage={"input_tokens": 5, "output_tokens": 5}, cost={})
        attached.close()
        source.add_call("child", child_session_id="source/child-0001", status="ok")  # leads there once more
    with store.fork_session("source", id="fork") as fork, fork.turn() as turn:
        with turn.call("root", provider="acme", model="large") as call:
            call.ok(usage={"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}, cost={"usd": 0.3})
        turn.call("leaf", model="small").__enter__().error("refused")
        turn.final("forked")
    with store.resume_session("source", id="resumed") as resumed, resumed.start_child() as child:
        child.add_call("leaf", model="large", status="ok", usage={"input_tokens": 2**40}, cost={"usd": 1e-9})


def fill_many(store: foldlog.Store, count: int, text: str = "fine") -> None:
    """One session with very many calls, some of which went wrong."""
    session = store.start_session(id="many")
    last = f"2026-11-22T{count // 3600 % 24:02}:{count // 60 % 60:02}:{count % 60:02}.000000Z"
    turn = session.add_turn(started_at="2026-11-22T00:00:00.000000Z", ended_at=last, status="final")
    with session.batch():
        for number in range(count):
            at = f"2026-11-22T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"
            session.add_call(
                "leaf", turn_id=turn["id"], model=f"m-{number % 3}",
                started_at=f"{at}.000000Z", ended_at=f"{at}.900000Z",
                status="error" if number % 1000 == 999 else "ok", query=text,
                usage={"input_tokens": number, "output_tokens": 1} if number % 7 else None, cost={"usd": 0.1},
            )  # fmt: skip
    session.close()


def fill_at_once(store: foldlog.Store, count: int) -> None:
    """One session whose calls all begin in one minute and run for half of one: very many at once."""
    with store.start_session(id="wide") as session, session.batch():
        turn = session.add_turn(started_at=minute(0), ended_at=minute(2), status="final")
        for number in range(count):
            begin = number / count
            session.add_call(
                "leaf", turn_id=turn["id"], model=f"m-{number % 5}", query=f"why {number}",
                status="error" if number % 100 == 99 else "ok", started_at=minute(begin), ended_at=minute(begin + 0.5),
                usage={"input_tokens": number, "output_tokens": 2},
                cost={"usd": 0.01 if number % 2 else "unknown"},
            )  # fmt: skip


def fill_deep(store: foldlog.Store, levels: int = 10) -> None:
    """Sessions in sessions, each with calls of every status, long names, and numbers that are not known."""
    session = store.start_session(id="deep-session-with-a-rather-long-name", prompt="Go down. " * 50)
    open_sessions = [session]
    for level in range(levels):
        turn = session.add_turn(
            started_at=minute(level), status=("running", "error", "interrupted", "final")[level % 4]
        )
        session.add_message("user", f"level {level}: " + "down and down " * 300, turn_id=turn["id"])
        for number, status in enumerate(("ok", "error", "interrupted", "running", "ok")):
            begin = level + number / 10
            session.add_call(
                "leaf", turn_id=turn["id"], model="a-model-with-a-very-long-name-2026-11-22-preview", provider="acme",
                status=status, started_at=minute(begin), ended_at=minute(begin + 0.15) if status != "running" else None,
                error="no answer in 30 s" if status == "error" else None, cost={"usd": 0.1} if number == 0 else None,
                usage={"input_tokens": 1000 * level} if number % 2 else None,
            )  # fmt: skip
        code = {"code": "print(1)\n" * 50, "stdout": "1\n" * 3000, "status": "error", "error": "ValueError: down"}
        session.add_eval(turn_id=turn["id"], started_at=minute(level + 0.5), ended_at=minute(level + 0.6), **code)
        session.update_turn(turn["id"], ended_at=minute(level + 0.7) if level % 4 else None)
        if level < levels - 1:
            open_sessions.append(session := session.start_child(turn_id=turn["id"]))
    for session in reversed(open_sessions):
        session.close()


def minute(number: float) -> str:
    """A time: so many minutes after one that all of them count from."""
    return f"2026-11-22T{int(number) // 60:02}:{int(number) % 60:02}:{number * 60 % 60:09.6f}Z"


def fill_hostile(store: foldlog.Store) -> None:
    """Every place that holds text holds the same bad one."""
    with store.start_session(id="hostile", provider=HOSTILE, prompt=HOSTILE, more=HOSTILE) as session:
        with session.turn() as turn:
            turn.message("user", HOSTILE)
            turn.message(HOSTILE, [{"type": "text", "text": HOSTILE}, {"type": "text", "text": "x" * 1_000_000}])
            with turn.call("leaf", model=HOSTILE, provider=HOSTILE, query=HOSTILE, batch_id=HOSTILE) as call:
                call.ok(usage={"input_tokens": 2**62}, response_ref=session.value_ref({HOSTILE: HOSTILE}))
            turn.call(HOSTILE, model="javascript:document.title='pwned'").__enter__().error(HOSTILE)
            turn.eval(code=HOSTILE, stdout=HOSTILE, status=HOSTILE, error={HOSTILE: [HOSTILE]})
            turn.final({HOSTILE: HOSTILE})
        session.mark_error(HOSTILE)
