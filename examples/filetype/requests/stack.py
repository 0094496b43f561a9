"""A stack that remembers the largest value it has held."""


class Stack:
    def __init__(self):
        self._values = []
        self.largest = None

    def push(self, value):
        self._values.append(value)
        if self.largest is None or value > self.largest:
            self.largest = value

    def pop(self):
        return self._values.pop()


if __name__ == "__main__":
    stack = Stack()
    for number in (3, 1, 4, 1, 5):
        stack.push(number)
    print(f"largest: {stack.largest}")
