"""Ask a served planner through OpenAI's client, and see each branch while it is written.

sprint-sgl serve --port 8000             # in another terminal
python examples/openai_client.py [URL]   # by default http://127.0.0.1:8000
"""

import sys

from openai import OpenAI

address = sys.argv[1] if sys.argv[1:] else "http://127.0.0.1:8000"
client = OpenAI(base_url=f"{address}/v1", api_key="none")
question = {"role": "user", "content": "Use 15, 3 and 62 to make 80"}
model = client.models.list().data[0].id  # countdown-mini:sprint

reply = client.chat.completions.create(model=model, messages=[question], temperature=0)
print("answer:", reply.choices[0].message.content)
print("cost:", reply.sprint)  # sequential tokens, stages, width, seconds ...

written: dict[str, str] = {}
for chunk in client.chat.completions.create(model=model, messages=[question], temperature=0, stream=True):
    if (branch := getattr(chunk, "sprint", None)) and "role" in branch:
        who = f"{branch['role']} {branch['stage']}.{branch.get('prompt') or 0}"
        written[who] = written.get(who, "") + branch["text"]
for who, text in written.items():
    print(f"{who}: {len(text)} characters")
