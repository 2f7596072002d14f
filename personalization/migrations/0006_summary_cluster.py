from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("personalization", "0005_price_history")]

    operations = [
        migrations.AddField(
            model_name="shoppersummary",
            name="cluster",
            field=models.CharField(blank=True, max_length=60, verbose_name="shopping habit"),
        ),
    ]
