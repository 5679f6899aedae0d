"""Values too large for an event: kept beside it, read back whole."""

import foldlog


def _message(number: int) -> dict[str, str]:
    return {"role": "user", "content": f"{number:04d}" * 500}


def test_a_request_made_of_stored_parts_reads_back_whole(store: foldlog.Store) -> None:
    with store.start_session(id="demo") as session:
        transcript = [_message(0)]
        refs = []
        for number in range(1, 6):
            transcript.append(_message(number))
            refs.append(session.add_call("leaf", request_ref=session.value_ref(transcript))["request_ref"])
        assert [session.read_ref(ref) for ref in refs] == [transcript[: length + 2] for length in range(5)]


def test_the_hash_is_of_the_whole_value_however_it_is_stored(store: foldlog.Store) -> None:
    with store.start_session(id="demo") as session:
        first = [_message(0), _message(1)]
        session.add_call("leaf", request_ref=session.value_ref(first))
        grown = session.add_call("leaf", request_ref=session.value_ref([*first, _message(2)]))["request_ref"]
    with store.start_session(id="other") as session:
        assert session.value_ref([*first, _message(2)])["hash"] == grown["hash"]
