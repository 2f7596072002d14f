import django.db.models
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('personalization', '0004_lifecycle'),
    ]

    operations = [
        migrations.CreateModel(
            name='PricePoint',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('item_id', models.CharField(max_length=100, verbose_name='product id')),
                ('price_minor', models.BigIntegerField(verbose_name='price (minor units)')),
                ('currency', models.CharField(blank=True, max_length=3, verbose_name='currency')),
                ('since', models.DateTimeField(verbose_name='since')),
                ('until', models.DateTimeField(blank=True, null=True, verbose_name='until')),
            ],
            options={
                'verbose_name': 'price',
                'verbose_name_plural': 'prices',
                'indexes': [models.Index(fields=['item_id', 'since'], name='pz_price_item')],
                'constraints': [
                    models.UniqueConstraint(condition=models.Q(('until__isnull', True)), fields=('item_id',), name='pz_price_current_once'),
                    models.CheckConstraint(condition=models.Q(('until__isnull', True), ('until__gte', django.db.models.F('since')), _connector='OR'), name='pz_price_span'),
                ],
            },
        ),
    ]
