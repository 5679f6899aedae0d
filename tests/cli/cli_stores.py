"""What the stores of these tests hold, and how what verbs print is read back."""

import json
from pathlib import Path
from typing import Any

import foldlog
from foldlog.cli import demo_worker


def make_project(folder: Path) -> None:
    for name, text in PROJECT_TEXTS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def record_demo(folder: Path) -> Path:
    """The demo's store of a small project in a folder, with a call that a kill left open."""
    make_project(folder / "project")
    path = folder / "history.db"
    with foldlog.open(path, config=foldlog.Config(durability="normal")) as store:
        demo_worker.map_or_continue(store, folder / "project")
        with store.open_session("demo") as session:
            session.add_call("leaf", model="offline-reader", provider="demo", status="interrupted")
    return path


PROJECT_TEXTS = {
    "README.md": "# A project\n\nwords and words\n",
    "app/main.py": '"""Runs it."""\nimport os\n\n\ndef main():\n    pass\n',
    "app/core/engine.py": "import os\n\n\nclass Engine:\n    def start(self):\n        pass\n",
}


def fill(session: foldlog.Session) -> None:
    with session.turn() as turn:
        turn.message("user", [{"type": "text", "text": "How many words?"}])
        request = session.value_ref({"prompt": "word " * 2000})
        with turn.call("root", provider="acme", model="m-1", request_ref=request) as call:
            call.ok(usage={"input_tokens": 40, "output_tokens": 7, "total_tokens": 47}, cost={"usd": 0.1})
        turn.message("assistant", "Asking two others.", call_id=call.id)
        for part in ("one", "two"):
            with session.start_child(turn_id=turn.id, query=part) as child, child.turn() as below:
                with below.call("leaf", provider="acme", model="m-2") as call:
                    call.ok(usage={"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}, cost={"usd": 0.2})
                below.final(2)
        with turn.call("leaf", provider="other", model="m-3") as call:
            call.error("refused")
        turn.eval(code="print(2 + 2)\n1 / 0", status="error", stdout="4\n", error="ZeroDivisionError", elapsed_ms=0.5)
        turn.final({"words": 4, "tabbed": "a\tb"})
    session.mark_final({"words": 4})


def parsed(text: str, verb: str) -> list[dict[str, Any]]:
    """The objects of NDJSON, each of the verb's schema."""
    rows = [json.loads(line) for line in text.split("\n") if line]  # not splitlines: U+2028 may stand in a text
    assert all(row.pop("schema") == f"foldlog.{verb}/1" for row in rows)
    return rows
