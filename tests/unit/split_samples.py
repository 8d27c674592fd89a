"""A small file of each language, and what its definitions are."""

from typing import NamedTuple


class Sample(NamedTuple):
    """`defines`: every name, in order; `symbol`: of the place that holds `inside`."""

    text: str
    defines: str
    symbol: str
    inside: str


SAMPLES = {
    "bash": Sample(
        """\
#!/bin/bash
set -e
VERSION=1.2
export TARGET=all

# Build it.
build() {
  make "$1"
}

function clean {
  rm -rf out
}
""",
        "VERSION TARGET build clean",
        "build",
        'make "$1"',
    ),
    "c": Sample(
        """\
#ifndef LIST_H
#define LIST_H
#include "a.h"
#define MAX_LEN 10
#define SWAP(a, b) do { } while (0)

struct list_head {
	struct list_head *next;
};

enum color { RED, GREEN };

typedef int (*compare_fn)(int, int);
typedef struct { int x; } point_t;

extern int elsewhere;
int prototype(int);
static const struct ops file_ops = { .open = 1 };
int *table[3];

/* Adds. */
static int *
list_add(struct list_head *head)
{
	return head->next;
}
#endif
""",
        "MAX_LEN SWAP list_head color compare_fn point_t file_ops table list_add",
        "list_add",
        "return head->next",
    ),
    "cpp": Sample(
        """\
#include <vector>
namespace geo {

template <typename T>
class Shape : public Base {
 public:
  Shape() {}
  ~Shape() {}
  T area() const { return 1; }
  bool operator==(const Shape& o) { return true; }
};

using Id = int;
constexpr int kLimit = 3;

void Shape<int>::draw(int x) {
  paint(x);
}

int& ref() { return r; }
}  // namespace geo
""",
        "Shape Shape ~Shape area operator== Id kLimit draw ref",
        "geo.Shape.draw",
        "paint(x)",
    ),
    "csharp": Sample(
        """\
using System;
namespace Acme.Tools {
  /// <summary>Doc</summary>
  [Serializable]
  public class Cart : Base {
    public int Total { get; set; }
    public Cart() { }
    public void Add(int x) {
      Total += x;
    }
  }
  interface IThing { void Run(); }
  struct Pair { }
  enum Kind { A }
  record Row(int Id);
}
""",
        "Cart Total Cart Add IThing Run Pair Kind Row",
        "Acme.Tools.Cart.Add",
        "Total += x",
    ),
    "css": Sample(
        """\
:root { --gap: 1px; }
/* c */
.card:hover { color: red; }
@keyframes spin { from { top: 0; } }
""",
        "spin",
        "spin",
        "from { top",
    ),
    "elixir": Sample(
        """\
defmodule Acme.Cart do
  @moduledoc "x"

  @doc "Adds."
  def add(cart, item) when item > 1 do
    [item | cart]
  end

  defp total(cart), do: 1
  defmacro twice(x) do
    x
  end
  def empty, do: []
end
""",
        "Cart add total twice empty",
        "Acme.Cart.add",
        "[item | cart]",
    ),
    "go": Sample(
        """\
package main

const Limit = 3

var (
	count = 1
)

// Cart holds.
type Cart struct {
	Items []int
}

type (
	Adder interface{ Add(int) }
)

// Add adds.
func (c *Cart) Add(x int) {
	c.Items = append(c.Items, x)
}

func (s Stack[T]) Pop() T { return s.v }

func main() {
	local := 1
	_ = local
}
""",
        "Limit count Cart Adder Add Pop main",
        "Cart.Add",
        "append(c.Items, x)",
    ),
    "haskell": Sample(
        """\
module Acme where
import Data.List

-- | A shape.
data Shape = Circle | Square
newtype Id = Id Int
type Name = String

class Area a where
  area :: a -> Int

instance Area Shape where
  area _ = 1

double :: Int -> Int
double 0 = 0
double x = x + x
  where y = 1

a <+> b = a

limit = 3
""",
        "Shape Id Name Area area double <+> limit",
        "double",
        "x + x",
    ),
    "html": Sample(
        """\
<!DOCTYPE html>
<html>
<head><script>let a = 1;</script></head>
<body><p>text</p></body>
</html>
""",
        "",
        "",
        "text",
    ),
    "java": Sample(
        """\
package a.b;
import x.Y;
/** Doc. */
@Entity
public class Cart<T> extends Base {
  static final int MAX = 1;
  public Cart() {}
  @Override
  public int total(int a) {
    return a + MAX;
  }
  enum Kind { A, B; void q() {} }
  interface Runner { void run(); }
  record Row(int id) {}
}
""",
        "Cart Cart total Kind q Runner run Row",
        "Cart.total",
        "return a + MAX",
    ),
    "javascript": Sample(
        """\
import a from 'b';
export const load = async () => {
  await a();
}, limit = 2;
var old = function () {};
/** Doc. */
export default function App() {
  const local = 1;
  return local;
}
class Cart extends Base {
  total = () => 1;
  constructor() {}
  static async add(x) {
    return x + 1;
  }
}
module.exports.run = function () {};
Cart.prototype.clear = () => {};
""",
        "load limit old App Cart total constructor add run clear",
        "Cart.add",
        "return x + 1",
    ),
    "kotlin": Sample(
        """\
package a.b

const val LIMIT = 3

/** Doc. */
class Cart(val a: Int) : Base() {
  fun add(x: Int): Int {
    return x + 1
  }
  companion object {
    fun make() {}
  }
}

object Registry {
  fun find() {}
}

interface Runner {
  fun run() {}
}

fun String.shout(): String {
  return this
}

typealias Id = Int
""",
        "LIMIT Cart add make Registry find Runner run shout Id",
        "Cart.add",
        "return x + 1",
    ),
    "lua": Sample(
        """\
local M = {}

-- Adds.
function M.add(a, b)
  return a + b
end

function M:total()
  return 1
end

local function helper()
end

M.late = function()
end

return M
""",
        "M add total helper late",
        "M.add",
        "return a + b",
    ),
    "php": Sample(
        r"""<?php
namespace Acme\Shop;
const LIMIT = 1;

/** Doc. */
#[Attr]
abstract class Cart extends Base {
  const MAX = 2;
  public function add($x) {
    return $x + 1;
  }
}
interface Runner { function run(); }
trait Logs { function log() {} }
enum Kind: string { case A = 'a'; }
function helper() {}
""",
        "LIMIT Cart MAX add Runner run Logs log Kind helper",
        "Cart.add",
        "return $x + 1",
    ),
    "python": Sample(
        '''\
import os

LIMIT: int = 3
ALIAS = OTHER = 1


@cache
def load(path):
    local = 1
    return local


class Cart(Base):
    """Doc."""

    field = 1

    # Adds.
    @property
    async def add(self):
        return self.x + 1


if os.name:
    def posix(): pass
else:
    def windows(): pass
''',
        "LIMIT ALIAS load Cart add posix windows",
        "Cart.add",
        "return self.x + 1",
    ),
    "ruby": Sample(
        """\
module Acme::Shop
  LIMIT = 3

  # A cart.
  class Cart < Base
    attr_reader :a

    def add(x)
      @x += x
    end

    def self.make; end
    def ==(other); end
    def empty? = true
  end
end
""",
        "Shop LIMIT Cart add make == empty?",
        "Acme.Shop.Cart.add",
        "@x += x",
    ),
    "rust": Sample(
        """\
use std::fmt;

/// Doc.
#[derive(Debug)]
pub struct Cart { x: i32 }
const LIMIT: i32 = 1;
static S: i32 = 1;
macro_rules! square { () => {} }
mod inner {
    fn helper() {}
}
trait Area { fn area(&self); }
impl<T> fmt::Display for Cart<T> {
    fn fmt(&self) -> i32 {
        self.x + 1
    }
}
enum Kind { A }
type Id = i32;
""",
        "Cart LIMIT S square inner helper Area area fmt Kind Id",
        "Cart.fmt",
        "self.x + 1",
    ),
    "scala": Sample(
        """\
package a.b

object Main {
  val limit = 1
  def run(a: Int): Int = {
    a + limit
  }
}

case class Cart(a: Int) extends Base {
  def add(o: Cart): Int = 1
}

trait Area {
  def area: Int
}
""",
        "Main limit run Cart add Area area",
        "Main.run",
        "a + limit",
    ),
    "sql": Sample(
        """\
-- Users.
CREATE TABLE shop.users (id INT, name TEXT);
CREATE VIEW active AS SELECT 1;
CREATE INDEX by_name ON users (name);
CREATE FUNCTION total(a INT) RETURNS INT AS $$ BEGIN RETURN 1; END; $$ LANGUAGE plpgsql;
SELECT id FROM users WHERE id = 1;
""",
        "users active by_name total",
        "total",
        "RETURN 1",
    ),
    "swift": Sample(
        """\
import UIKit

let limit = 1

/// Doc.
class Cart: Base {
  var items = 1

  func add(x: Int) -> Int {
    return x + 1
  }
}

struct Pair {
  static func make() {}
}

protocol Area {
  func area()
}

extension Cart: Area {
  func area() {}
}

enum Kind {
  case a
}

func free<T>(a: T) {}
""",
        "limit Cart add Pair make Area area Cart area Kind free",
        "Cart.add",
        "return x + 1",
    ),
    "tsx": Sample(
        """\
import React from 'react';
export const Row = ({ a }: Props) => {
  return <td>{a}</td>;
};
export default function Table(): JSX.Element {
  return <table><Row a={1} /></table>;
}
""",
        "Row Table",
        "Table",
        "<table>",
    ),
    "typescript": Sample(
        """\
/** Doc. */
export interface Props { a: string }
type Id = number | string;
enum Kind { A, B }
@Component({})
export class Cart {
  private total = () => 1;
  constructor(private x: number) {}
  async add(x: number): Promise<number> {
    return x + 1;
  }
}
abstract class Shape { abstract area(): number }
namespace Inner {
  export function helper() {}
}
declare function outside(): void;
""",
        "Props Id Kind Cart total constructor add Shape area Inner helper outside",
        "Cart.add",
        "return x + 1",
    ),
    "zig": Sample(
        """\
const std = @import("std");

/// Doc.
pub const Cart = struct {
    x: u8,

    pub fn add(self: *Cart) u8 {
        return self.x + 1;
    }
};

fn helper() void {}
var count: u8 = 1;

test "adds" {}
""",
        "std Cart add helper count adds",
        "Cart.add",
        "return self.x + 1",
    ),
}
