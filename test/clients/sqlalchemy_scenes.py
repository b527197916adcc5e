"""SQLAlchemy 2 over psycopg 3, psycopg2, pg8000 and asyncpg: reflection of a schema with one of everything, and an ORM round trip."""

import asyncio
import ssl

import sqlalchemy as sa
from scenes import play, scene, url, way
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, joinedload, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(40), index=True)
    born: Mapped[sa.Date | None] = mapped_column(sa.Date)
    data: Mapped[dict] = mapped_column(sa.JSON, default=dict)
    books: Mapped[list["Book"]] = relationship(back_populates="author", cascade="all, delete-orphan", order_by="Book.id")


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str] = mapped_column(sa.Enum("novel", "essay", name="book_kind"))
    author_id: Mapped[int] = mapped_column(sa.ForeignKey("authors.id", ondelete="CASCADE"))
    author: Mapped[Author] = relationship(back_populates="books")


def secured():
    """What drivers without libpq are given instead of sslmode."""
    return ssl.create_default_context(cafile=way["caFile"])


def engine_of(dialect):
    if dialect in ("psycopg", "psycopg2"):
        return sa.create_engine(url(dialect))
    bare = url(dialect).split("?")[0]
    if dialect == "pg8000":
        return sa.create_engine(bare, connect_args={"ssl_context": secured()})
    return create_async_engine(bare, connect_args={"ssl": secured()})


def reflected(connection):
    inspector = sa.inspect(connection)
    # The server gives names in no order.
    names = ("get_schema_names", "get_table_names", "get_view_names", "get_materialized_view_names", "get_sequence_names")
    seen = {name: sorted(getattr(inspector, name)()) for name in names}
    seen["enums"] = inspector.get_enums()
    seen["domains"] = inspector.get_domains()
    seen["definition"] = inspector.get_view_definition("open_orders")
    for table in ("customers", "orders", "events"):
        seen[table] = [
            [{**column, "type": repr(column["type"])} for column in inspector.get_columns(table)],
            inspector.get_pk_constraint(table),
            inspector.get_foreign_keys(table),
            inspector.get_indexes(table),
            inspector.get_unique_constraints(table),
            inspector.get_check_constraints(table),
            inspector.get_table_comment(table),
            inspector.get_table_options(table),
        ]
    seen["missing"] = [inspector.has_table("no_such_table"), inspector.has_table("orders", schema="public")]
    metadata = sa.MetaData()
    metadata.reflect(connection, views=True)
    orders = metadata.tables["orders"]
    seen["selected"] = [tuple(row) for row in connection.execute(sa.select(orders.c.id, orders.c.total).order_by(orders.c.id))]
    return seen


def round_trip(session):
    ada = Author(name="Ada", data={"notes": ["G"]}, books=[Book(title="Notes", kind="essay"), Book(title="Letters", kind="essay")])
    session.add_all([ada, Author(name="Mary", books=[Book(title="Frankenstein", kind="novel")])])
    session.commit()
    seen = [[author.name, [book.title for book in author.books]] for author in session.scalars(sa.select(Author).options(joinedload(Author.books)).order_by(Author.id)).unique()]
    ada.books[0].title = "Notes on the Engine"
    session.delete(ada.books[1])
    session.commit()
    seen.append(session.scalars(sa.select(Book.title).where(Book.kind == "essay")).all())
    seen.append(session.execute(sa.select(Author.name, sa.func.count()).join(Book).group_by(Author.name).order_by(Author.name)).all())
    session.execute(sa.insert(Book), [{"title": f"Volume {at}", "kind": "novel", "author_id": ada.id} for at in range(50)])
    seen.append(session.scalars(sa.insert(Book).returning(Book.title), [{"title": f"Part {at}", "kind": "novel", "author_id": ada.id} for at in range(5)]).all())
    seen.append(session.execute(sa.update(Book).where(Book.title.like("Volume %")).values(kind="essay")).rowcount)
    try:
        with session.begin_nested():
            session.add(Book(title="Frankenstein", kind="novel", author_id=ada.id))
            session.flush()
    except sa.exc.IntegrityError:
        seen.append("unique")
    session.commit()
    seen.append([tuple(row) for row in session.connection(execution_options={"yield_per": 10}).execute(sa.select(Book.title).order_by(Book.id))][-3:])
    return seen


def play_sync(dialect):
    engine = engine_of(dialect)
    try:
        with engine.connect() as connection:
            seen = [reflected(connection)]
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            seen.append(round_trip(session))
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            seen.append(connection.scalar(sa.text("SHOW transaction_isolation")))
        Base.metadata.drop_all(engine)
        return seen
    finally:
        engine.dispose()


@scene
def over_psycopg(_):
    return play_sync("psycopg")


@scene
def over_psycopg2(_):
    return play_sync("psycopg2")


@scene
def over_pg8000(_):
    return play_sync("pg8000")


@scene
def over_asyncpg(_):
    async def work():
        engine = engine_of("asyncpg")
        async with engine.connect() as connection:
            seen = [await connection.run_sync(reflected)]
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine) as session:
            seen.append(await session.run_sync(round_trip))
        async with engine.connect() as connection:
            result = await connection.stream(sa.select(Book.title).order_by(Book.id).limit(20))
            seen.append([tuple(row) async for row in result])
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
        await engine.dispose()
        return seen

    return asyncio.run(work())


@scene
def policy(_):
    seen = {"masked": []}
    for dialect in ("psycopg", "psycopg2", "pg8000"):
        engine = engine_of(dialect)
        people = sa.Table("people", sa.MetaData(), autoload_with=engine)
        with engine.connect() as connection:
            query = sa.select(people.c.name, people.c.ssn).where(people.c.id == 1)
            seen["masked"] += [[tuple(row) for row in connection.execute(query)] for _ in range(3)]
            try:
                connection.execute(sa.delete(people))
            except sa.exc.DBAPIError as error:
                told = error.orig.args[0] if dialect == "pg8000" else {"C": getattr(error.orig, "sqlstate", None) or error.orig.pgcode, "M": error.orig.diag.message_primary}
                seen["denied" if dialect == "psycopg" else f"denied over {dialect}"] = [told["C"], told["M"]]
            connection.rollback()
            seen["after"] = connection.scalar(sa.select(sa.func.count()).select_from(people))
        engine.dispose()
    return seen


play(lambda: None, sa.exc.DBAPIError, lambda error: [type(error).__name__, str(error.orig)])
