"""A world of your own in Python: a corridor to walk along. One request a line comes in, one answer a line goes out.

  uncouple play --env external --program python3 examples/worlds/corridor.py
"""

import json
import sys

LENGTHS = {"train": [2, 3, 4], "test": [5, 6]}


class Corridor:
    def __init__(self):
        self.length = 0
        self.place = 0

    def spec(self):
        splits = {
            split: [{"id": f"length {length}", "type": "walk"} for length in lengths]
            for split, lengths in LENGTHS.items()
        }
        return {"id": "corridor", "splits": splits, "expert": True, "texts": True}

    def reset(self, seed, options):
        self.length = int(options["task_id"].split(" ")[1])
        self.place = 0
        return {"obs": self.look(), "task": "reach the door.", "info": self.info()}

    def step(self, action):
        known = action in ("forward", "back")
        if known:
            self.place = max(0, min(self.length, self.place + (1 if action == "forward" else -1)))
        won = self.place == self.length
        obs = self.look() if known else "You cannot do that."
        return {"obs": obs, "reward": int(won), "terminated": won, "truncated": False, "info": self.info()}

    def expert(self, task_id):
        return {"actions": ["forward"] * int(task_id.split(" ")[1])}

    def texts(self):
        places = [f"You are at place {place} of {length}." for length in range(7) for place in range(length + 1)]
        return {"texts": [*places, "You cannot do that.", "reach the door.", "forward", "back"]}

    def look(self):
        return f"You are at place {self.place} of {self.length}."

    def info(self):
        return {
            "won": self.place == self.length,
            "admissible_commands": ["forward", "back"],
            "score": self.place / self.length,
            "state_key": str(self.place),
        }


world = Corridor()
for line in sys.stdin:
    request = json.loads(line)
    method = getattr(world, request["method"])
    print(json.dumps({"id": request["id"], "result": method(**request["params"])}), flush=True)
