"""A writer that is killed: prints the id of each acknowledged event, one a line, until it is.

python crash_writer.py STORE SESSION THREADS
"""

import sys
import threading

import foldlog


def main(path: str, session_id: str, thread_count: int) -> None:
    store = foldlog.open(path)
    session = store.start_session(id=session_id)
    turn = session.add_turn()
    child = session.start_child(turn_id=turn["id"])
    child.add_call("leaf")
    write_lock = threading.Lock()

    def say(event_id: int) -> None:
        with write_lock:
            sys.stdout.write(f"{event_id}\n")
            sys.stdout.flush()

    def work(number: int) -> None:
        while True:
            call = session.add_call("leaf", turn_id=turn["id"], request_ref=session.value_ref(f"{number}" * 5000))
            say(session.add_event("acknowledged", call=call["id"]))
            session.update_call(call["id"], status="ok", usage={"input_tokens": 1})

    def checkpoints() -> None:
        while True:
            session.checkpoint()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(thread_count)]
    for thread in (*threads, threading.Thread(target=checkpoints)):
        thread.start()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
