import json
import os
import unittest

from windlass.frames import FrameReader, NotJson, framed, to_json


class FrameTests(unittest.TestCase):
    def setUp(self):
        self.reading, self.writing = os.pipe()
        self.addCleanup(os.close, self.reading)

    def test_frames_come_whole_however_the_bytes_were_cut(self):
        messages = [{"n": 1}, {"text": "ü" * 100}, {}]
        data = b"".join(framed(json.dumps(message).encode()) for message in messages)
        for size in (1, 3, 7, len(data)):
            reader, seen = FrameReader(self.reading), []
            for start in range(0, len(data), size):
                os.write(self.writing, data[start : start + size])
                seen += reader.read()
            self.assertEqual(seen, messages)
        os.close(self.writing)
        self.assertIsNone(reader.read())

    def test_data_nested_too_deeply_spares_the_rest_of_the_frame(self):
        run = '{"run":{"id":7,"timeout_ms":1,"job":{"id":"a","data":' + "[" * 20000 + "]" * 20000 + "}}}"
        os.write(self.writing, framed(run.encode()))
        os.close(self.writing)
        messages = FrameReader(self.reading).read()
        self.assertEqual(messages, [{"run": {"id": 7, "timeout_ms": 1, "job": {"id": "a"}, "too_deep": True}}])

    def test_json_is_what_the_standard_library_writes(self):
        os.close(self.writing)
        for value in [None, 1, "ü\n", [1.5, {"a": [True, None]}], {"1": 2}]:
            self.assertEqual(json.loads(to_json(value)), value)
        for value in [object(), float("inf"), {1, 2}]:
            with self.assertRaises(NotJson):
                to_json(value)


if __name__ == "__main__":
    unittest.main()
