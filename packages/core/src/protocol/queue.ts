/** First in, first out, in constant time: `Array.prototype.shift` moves every element once an array is long. */
export class Queue<Item> {
  #items: (Item | undefined)[] = []
  #head = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  push(item: Item): void {
    this.#items.push(item)
  }

  peek(): Item | undefined {
    return this.#items[this.#head]
  }

  shift(): Item | undefined {
    if (this.#items.length === 0) return undefined // the usual case: most polls find nothing
    const item = this.#items[this.#head]
    this.#items[this.#head++] = undefined
    if (this.#head === this.#items.length) {
      this.#items.length = this.#head = 0
    } else if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items.splice(0, this.#head)
      this.#head = 0
    }
    return item
  }

  /** Removes and returns the first item that fits, in linear time; in constant time when it is the first of all. */
  remove(fits: (item: Item) => boolean): Item | undefined {
    for (let at = this.#head; at < this.#items.length; at++) {
      const item = this.#items[at]
      if (item === undefined || !fits(item)) continue
      if (at === this.#head) return this.shift()
      this.#items.splice(at, 1)
      return item
    }
    return undefined
  }
}
