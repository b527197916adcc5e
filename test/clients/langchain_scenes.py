"""LangChain's SQLDatabase and its toolkit, as an agent uses them: list, describe, query; over psycopg2 and psycopg 3."""

import warnings

warnings.simplefilter("ignore")

from langchain_community.agent_toolkits.sql.toolkit import SQLDatabaseToolkit
from langchain_community.utilities.sql_database import SQLDatabase
from langchain_core.language_models import FakeListChatModel
from scenes import play, scene, url
from sqlalchemy.exc import DBAPIError


def database(dialect, **more):
    return SQLDatabase.from_uri(url(dialect), **more)


@scene
def psycopg2_look_ups(_):
    db = database("psycopg2", view_support=True, sample_rows_in_table_info=2)
    return [sorted(db.get_usable_table_names()), db.get_table_info(), db.get_context(), db.dialect]


@scene
def psycopg_look_ups(_):
    db = database("psycopg", include_tables=["orders", "customers"], indexes_in_table_info=True)
    return [sorted(db.get_usable_table_names()), db.get_table_info(["orders"]), db.get_table_info_no_throw(["no_such_table"])]


@scene
def run_statements(_):
    seen = []
    for dialect in ("psycopg2", "psycopg"):
        db = database(dialect)
        seen.append(db.run("SELECT id, customer, total FROM orders ORDER BY id"))
        seen.append(db.run("SELECT count(*) AS n FROM customers", include_columns=True))
        seen.append(db.run("SELECT name FROM customers WHERE id = :id", parameters={"id": 1}))
        seen.append(db.run("INSERT INTO notes VALUES (77, 'from an agent')"))
        seen.append(db.run("DELETE FROM notes WHERE id = 77"))
        seen.append(db.run_no_throw("SELECT no_such_column FROM orders"))
    return seen


@scene
def with_a_schema(_):
    db = database("psycopg2", schema="public")
    return [sorted(db.get_usable_table_names()), db.run("SELECT count(*) FROM orders")]


@scene
def toolkit(_):
    kit = SQLDatabaseToolkit(db=database("psycopg2"), llm=FakeListChatModel(responses=["SELECT 1"]))
    tools = {tool.name: tool for tool in kit.get_tools()}
    return [
        sorted(tools),
        tools["sql_db_list_tables"].invoke(""),
        tools["sql_db_schema"].invoke("orders, customers"),
        tools["sql_db_query"].invoke("SELECT state, count(*) FROM orders GROUP BY state ORDER BY state"),
        tools["sql_db_query"].invoke("SELECT 1 / 0"),
        tools["sql_db_query_checker"].invoke("SELECT 1"),
    ]


@scene
def policy(_):
    seen = {"masked": []}
    for dialect in ("psycopg2", "psycopg"):
        db = database(dialect)
        assert "078-05-1120" not in db.get_table_info(["people"])
        seen["masked"].append(eval(db.run("SELECT name, ssn FROM people WHERE id = 1")))
        try:
            db.run("DROP TABLE people")
        except DBAPIError as error:
            code = getattr(error.orig, "sqlstate", None) or error.orig.pgcode
            seen["denied"] = [code, error.orig.diag.message_primary]
        seen["after"] = eval(db.run("SELECT count(*) FROM people"))[0][0]
    return seen


play(lambda: None, DBAPIError, lambda error: [type(error).__name__, str(error.orig)])
